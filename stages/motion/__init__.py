"""Motion: codec vectors, optical flow and the camera on the shared decode; what they come to over a clip."""
