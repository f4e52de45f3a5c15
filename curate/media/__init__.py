"""Everything that opens a media file. The engine calls it only inside a child process with limits."""
