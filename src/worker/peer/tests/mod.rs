//! The link over real sockets.
