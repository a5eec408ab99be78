"""Joint angles and muscle forces from raw EMG [V], a column per channel: python example.py emg.csv > forces.csv"""

import json
import sys

import numpy as np
import onnxruntime

c = json.load(open("preprocessing.json"))  # noqa: SIM115, PTH123
session, raw = onnxruntime.InferenceSession("model.onnx"), np.loadtxt(sys.argv[1], delimiter=",", skiprows=1)
bandpass, lowpass, readout = (np.array(c[k]) for k in ("bandpass", "lowpass", "readout"))
s, m, envelope = np.array(c["bandpass_rest"]) * raw[0], np.zeros((len(lowpass), raw.shape[1])), []
print("time_s", *c["angles_rad"], *c["forces_n"], sep=",")
for t, x in enumerate(raw):
    s, y = np.split(bandpass @ np.vstack([s, x]), [-1])
    m = lowpass @ np.vstack([m, np.abs(y)])
    if t % c["every"] == 0:
        envelope = [*envelope, readout @ m][-c["window"] :]
        if len(envelope) == c["window"]:
            inputs = {"envelope": np.array([envelope], "f4"), "posture": np.array([c["posture"]], "i4")}
            print(t / c["raw_rate_hz"], *np.hstack([np.array(x)[0] for x in session.run(None, inputs)]), sep=",")
