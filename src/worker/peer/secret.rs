//! The cluster secret, and how two workers show each other that they know it without saying it.
//!
//! ```text
//! client                                   server
//! hello(from, to, nonce c)        ─▶
//!                                 ◀─  challenge(nonce s)
//! proof(HMAC("client", …, c, s))  ─▶
//!                                 ◀─  welcome(HMAC("server", …, c, s))
//! ```
//!
//! Each proof is over both nonces, so that none can be used a second time, and over both ids. The
//! client goes first: a server shows nothing that a secret could be guessed by to whoever connects.
//! It keeps strangers out; it does not encrypt: who can read or change the traffic between hosts is
//! kept out by the network.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::PATH;

/// Fewest characters of a secret.
pub const SECRET_CHARS_MIN: usize = 16;
/// Bytes of a nonce.
pub(super) const NONCE_BYTES: usize = 32;

/// What all workers of a cluster know, and nobody else.
#[derive(Clone, PartialEq, Eq)]
pub struct ClusterSecret(Arc<str>);

/// Why a text is no cluster secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the cluster secret has {chars} characters, and {SECRET_CHARS_MIN} is the least: make one with `openssl rand -hex 32`"
)]
pub struct SecretTooShort {
    /// Characters that it has.
    pub chars: usize,
}

impl ClusterSecret {
    /// That secret; white space around it (the end of a file's line) is not part of it.
    pub fn new(text: &str) -> Result<Self, SecretTooShort> {
        let text = text.trim();
        let chars = text.chars().count();
        if chars < SECRET_CHARS_MIN {
            return Err(SecretTooShort { chars });
        }
        Ok(Self(text.into()))
    }
}

/// Shows nothing of it.
impl fmt::Debug for ClusterSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClusterSecret")
    }
}

/// Why a worker does not listen at an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PeerListenError {
    /// Everybody in reach could do what a worker does.
    #[error(
        "listening at {0} lets any machine act as a worker of this cluster: set `cluster.secret`, listen at 127.0.0.1, or say `insecure = true`"
    )]
    Open(SocketAddr),
    /// Whoever has no token could come in that way.
    #[error(
        "a token without `cluster.secret` keeps nobody out, since other workers are let in without one: set it too, or say `insecure = true`"
    )]
    Token,
}

/// Whether a worker may let peers in: without a secret only at loopback, and only if no token is
/// asked for there either, unless the config says that it is meant so.
pub fn check_peers(
    address: SocketAddr,
    secret: bool,
    token: bool,
    insecure: bool,
) -> Result<(), PeerListenError> {
    if secret || insecure {
        return Ok(());
    }
    if !address.ip().to_canonical().is_loopback() {
        return Err(PeerListenError::Open(address));
    }
    if token { Err(PeerListenError::Token) } else { Ok(()) }
}

/// Which side a proof is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Client,
    Server,
}

/// What two workers have told each other.
#[derive(Clone, Debug)]
pub(super) struct Greeting<'a> {
    pub from: &'a str,
    pub to: &'a str,
    pub client_nonce: &'a [u8],
    pub server_nonce: &'a [u8],
}

impl Greeting<'_> {
    /// That side's proof. Without a secret it proves nothing, but both sides have to be without.
    pub fn proof(&self, secret: Option<&ClusterSecret>, side: Side) -> [u8; 32] {
        let side = match side {
            Side::Client => "client",
            Side::Server => "server",
        };
        let key = secret.map_or(&b""[..], |secret| secret.0.as_bytes());
        let mut message = Vec::new();
        let parts: [&[u8]; 6] = [
            side.as_bytes(),
            PATH.as_bytes(),
            self.from.as_bytes(),
            self.to.as_bytes(),
            self.client_nonce,
            self.server_nonce,
        ];
        for part in parts {
            message.extend_from_slice(&(part.len() as u64).to_be_bytes());
            message.extend_from_slice(part);
        }
        hmac_sha256(key, &message)
    }

    /// Whether that is its proof.
    pub fn is_proof(&self, secret: Option<&ClusterSecret>, side: Side, given: &[u8]) -> bool {
        let expected = self.proof(secret, side);
        <&[u8; 32]>::try_from(given).is_ok_and(|given| equal(given, &expected))
    }
}

/// Random bytes that are used once.
pub(super) fn nonce() -> Result<[u8; NONCE_BYTES], getrandom::Error> {
    let mut nonce = [0; NONCE_BYTES];
    getrandom::fill(&mut nonce)?;
    Ok(nonce)
}

/// HMAC (RFC 2104) with SHA-256.
fn hmac_sha256(key: &[u8], message: &[u8]) -> [u8; 32] {
    const BLOCK_BYTES: usize = 64;
    let mut block = [0u8; BLOCK_BYTES];
    if key.len() > BLOCK_BYTES {
        block[..32].copy_from_slice(&Sha256::digest(key));
    } else {
        block[..key.len()].copy_from_slice(key);
    }
    let inner = Sha256::new().chain_update(block.map(|byte| byte ^ 0x36)).chain_update(message).finalize();
    Sha256::new().chain_update(block.map(|byte| byte ^ 0x5c)).chain_update(inner).finalize().into()
}

/// In a time that does not depend on where they differ.
fn equal(a: &[u8; 32], b: &[u8; 32]) -> bool {
    std::hint::black_box(a.iter().zip(b).fold(0u8, |differ, (a, b)| differ | (a ^ b))) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn hmac_agrees_with_the_vectors_of_rfc_4231() {
        let long = [0xaa; 131];
        let cases: [(&[u8], &[u8], &str); 5] = [
            (&[0x0b; 20], b"Hi There", "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"),
            (
                b"Jefe",
                b"what do ya want for nothing?",
                "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
            ),
            (&[0xaa; 20], &[0xdd; 50], "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe"),
            (
                &long,
                b"Test Using Larger Than Block-Size Key - Hash Key First",
                "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
            ),
            (
                &long,
                b"This is a test using a larger than block-size key and a larger than block-size data. \
                  The key needs to be hashed before being used by the HMAC algorithm.",
                "9b09ffa71b942fcb27635fbcd5b0e944bfdc63644f0713938a7f51535c3a35e2",
            ),
        ];
        for (key, message, expected) in cases {
            assert_eq!(hex(&hmac_sha256(key, message)), expected);
        }
    }

    #[test]
    fn a_proof_is_for_one_side_of_one_link_of_two_workers() {
        let secret = ClusterSecret::new("a secret of some length").unwrap();
        let other = ClusterSecret::new("a secret of same length").unwrap();
        let greeting = Greeting { from: "a", to: "b", client_nonce: b"c", server_nonce: b"s" };
        let proof = greeting.proof(Some(&secret), Side::Client);
        let is_proof = |greeting: &Greeting<'_>, secret, side| greeting.is_proof(secret, side, &proof);
        assert!(is_proof(&greeting, Some(&secret), Side::Client));
        assert!(!is_proof(&greeting, Some(&secret), Side::Server));
        assert!(!is_proof(&greeting, Some(&other), Side::Client));
        assert!(!is_proof(&greeting, None, Side::Client));
        let others = [
            Greeting { from: "b", ..greeting.clone() },
            Greeting { to: "a", ..greeting.clone() },
            Greeting { client_nonce: b"d", ..greeting.clone() },
            Greeting { server_nonce: b"t", ..greeting.clone() },
            Greeting { from: "ab", to: "", ..greeting.clone() },
        ];
        for other in others {
            assert!(!is_proof(&other, Some(&secret), Side::Client), "{other:?}");
        }
        assert!(!greeting.is_proof(Some(&secret), Side::Client, &proof[..31]));
    }

    #[test]
    fn a_short_secret_is_refused_and_none_is_shown() {
        assert_eq!(ClusterSecret::new(" 15 characters. \n").unwrap_err(), SecretTooShort { chars: 14 });
        let secret = ClusterSecret::new("sixteen or more.\n").unwrap();
        assert_eq!(secret, ClusterSecret::new("sixteen or more.").unwrap());
        assert_eq!(format!("{secret:?}"), "ClusterSecret");
    }

    #[test]
    fn peers_are_let_in_beyond_loopback_only_with_a_secret_or_an_explicit_word() {
        let loopback = "127.0.0.1:7420".parse().unwrap();
        let open = "0.0.0.0:7420".parse().unwrap();
        assert_eq!(check_peers(loopback, false, false, false), Ok(()));
        assert_eq!(check_peers(loopback, false, true, false), Err(PeerListenError::Token));
        assert_eq!(check_peers(loopback, true, true, false), Ok(()));
        for token in [false, true] {
            assert_eq!(check_peers(open, false, token, false), Err(PeerListenError::Open(open)));
            assert_eq!(check_peers(open, true, token, false), Ok(()));
            assert_eq!(check_peers(open, false, token, true), Ok(()));
        }
    }
}
