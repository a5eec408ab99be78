"""The UCI set "EMG dataset in lower limb" with its traps: words, signs, zeros, copies and swapped files."""
