"""Layer 3, autonomy: work that resumes after a restart, and effects that never happen twice."""
