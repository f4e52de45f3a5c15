"""Who is seen: faces found and followed within takes, made into people of the source, named by a cast if there is one.

`face_tracks` looks at stills, which is dear; `people` and `faces` decide from what it stored, which is not.
"""
