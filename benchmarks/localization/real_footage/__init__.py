"""Real clips, forged: reading, forging, pairs on disk, alarms and scores; `footage.py` is the script."""
