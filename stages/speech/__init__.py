"""Who speaks, when, and what is said.

`sound` decodes the sound once, `stretches` cuts it where one voice ends, `speakers` says whose each stretch is, and
`diarization` joins the three. Text comes from subtitles (`subtitles`, `cues`) or else from `transcription`. `stage` is
what the engine runs, `formats` writes RTTM and WebVTT, `networks` loads what tells voices apart.
"""
