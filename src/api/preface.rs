//! Which HTTP a connection speaks: its first bytes say so (RFC 9113, 3.4).

use std::io;

use bytes::Bytes;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;

/// What a client that knows that HTTP/2 is spoken begins with; no request of HTTP/1 begins so.
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The first bytes of a connection, and what they say.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Begin {
    /// What was read.
    pub read: Bytes,
    /// It is HTTP/2.
    pub is_http2: bool,
}

/// Reads no more than it takes to know.
pub(super) async fn begin(stream: &mut TcpStream) -> io::Result<Begin> {
    let mut first = [0u8; PREFACE.len()];
    let mut length = 0;
    while length < first.len() {
        let read = stream.read(&mut first[length..]).await?;
        length += read;
        if read == 0 || !PREFACE.starts_with(&first[..length]) {
            return Ok(Begin { read: Bytes::copy_from_slice(&first[..length]), is_http2: false });
        }
    }
    Ok(Begin { read: Bytes::copy_from_slice(&first), is_http2: true })
}
