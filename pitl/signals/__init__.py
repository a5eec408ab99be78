"""From raw EMG to the normalised envelope with exact derivatives, causal and the same offline and live; and from
recordings to rows on the device, of which windows are gathered.
"""
