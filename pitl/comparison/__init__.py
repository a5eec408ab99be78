"""What the product is compared with, on people left out in turn: methods, baselines, siblings, statistics, studies."""
