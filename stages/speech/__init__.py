"""Who speaks, when, and what is said; and what else is heard.

`sound` decodes the sound once, `stretches` cuts it where one voice ends, `speakers` says whose each stretch is, and
`diarization` joins the three; `networks` loads what tells voices apart, `embedders` what makes vectors of them, which
the stage `voices` keeps. `events` hears music and noise. Text comes from subtitles (`subtitles`, `cues`), or else from
one of the `transcribers` (`sphinx`, `ctranslate`, `checkpoints`), for which `transcription` makes spans and to whose
words it gives voices; `language` says what it is in. `stage` is what the engine runs, `formats` writes RTTM and WebVTT.
"""
