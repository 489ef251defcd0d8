//! Claims, the journal, the fence and the cut: who counts (DESIGN.md §4), without I/O.
