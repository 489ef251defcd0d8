//! An in-memory double of the worker, for tests of the ways in.
