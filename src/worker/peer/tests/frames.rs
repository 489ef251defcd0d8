use std::sync::atomic::Ordering;

use bytes::{Bytes, BytesMut};
use futures_util::stream;
use hyper::client::conn::http2;
use hyper::{Request, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use proptest::prelude::*;
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use super::super::frame::{Cancel, Challenge, Credit, Data, Frame, GoAway, Hello, Kind, Open, Proof};
use super::super::limits::{FRAME_BYTES_MAX, GREETING_BYTES_MAX};
use super::super::reader::{ReadError, Reader};
use super::super::secret::{Greeting, Side};
use super::super::{Decoder, FrameError, PATH};
use super::kit::*;

fn kinds() -> impl Strategy<Value = Kind> {
    let bytes = || prop::collection::vec(any::<u8>(), 0..2_000).prop_map(Bytes::from);
    prop_oneof![
        (any::<u64>(), any::<u32>(), any::<u64>(), bytes(), any::<bool>(), any::<bool>()).prop_map(
            |(call, kind, deadline_ms, body, more, end)| {
                let message_bytes = body.len() as u64;
                Kind::Open(Open { call, kind, deadline_ms, message_bytes, body, more, end })
            }
        ),
        (any::<u64>(), bytes(), any::<bool>(), any::<bool>())
            .prop_map(|(call, body, more, end)| Kind::Data(Data { call, body, more, end, empty: false })),
        (any::<u64>(), any::<u64>()).prop_map(|(call, bytes)| Kind::Credit(Credit { call, bytes })),
        any::<u64>().prop_map(|call| Kind::Cancel(Cancel { call })),
        Just(Kind::GoAway(GoAway {})),
    ]
}

/// A decoder for frames of calls.
fn decoder() -> Decoder {
    let mut decoder = Decoder::default();
    decoder.greeted();
    decoder
}

proptest! {
    #[test]
    fn frames_are_read_as_they_were_written_however_they_arrive(
        written in prop::collection::vec(kinds(), 0..8),
        cuts in prop::collection::vec(1usize..3_000, 1..20),
    ) {
        let mut bytes = BytesMut::new();
        written.iter().for_each(|kind| Frame::write(kind.clone(), &mut bytes));
        let (mut decoder, mut read) = (decoder(), Vec::new());
        for cut in cuts.iter().cycle() {
            while let Some(kind) = decoder.next().unwrap() {
                read.push(kind);
            }
            if bytes.is_empty() {
                break;
            }
            decoder.feed(&bytes.split_to((*cut).min(bytes.len())));
        }
        prop_assert_eq!(read, written);
    }

    #[test]
    fn any_bytes_are_frames_or_refused_within_the_bound(
        chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..600), 0..20),
    ) {
        let mut decoder = Decoder::default();
        'chunks: for chunk in chunks {
            decoder.feed(&chunk);
            loop {
                match decoder.next() {
                    Ok(Some(_)) => {}
                    Ok(None) => break,
                    Err(_) => break 'chunks,
                }
            }
            prop_assert!(decoder.held() < GREETING_BYTES_MAX + 4);
        }
    }
}

#[test]
fn a_frame_beyond_the_bound_is_refused_by_its_length() {
    for (mut decoder, most) in [(Decoder::default(), GREETING_BYTES_MAX), (decoder(), FRAME_BYTES_MAX)] {
        let mut length = BytesMut::new();
        prost::encode_length_delimiter(most + 1, &mut length).unwrap();
        decoder.feed(&length);
        assert_eq!(decoder.next(), Err(FrameError::TooLong(most)));
    }
    let mut decoder = decoder();
    decoder.feed(&[0x80; 4]);
    assert_eq!(decoder.next(), Err(FrameError::TooLong(FRAME_BYTES_MAX)));
}

#[test]
fn a_kind_of_a_later_version_is_skipped() {
    let mut decoder = decoder();
    // Field 77 with two bytes, then a frame that is known.
    decoder.feed(&[5, 0xea, 0x04, 2, 1, 1]);
    let mut bytes = BytesMut::new();
    Frame::write(Kind::GoAway(GoAway {}), &mut bytes);
    decoder.feed(&bytes);
    assert_eq!(decoder.next(), Ok(Some(Kind::GoAway(GoAway {}))));
    assert_eq!(decoder.next(), Ok(None));
}

/// A client that writes what it likes.
struct Raw {
    bytes: mpsc::UnboundedSender<Bytes>,
    reader: Reader,
}

impl Raw {
    async fn link(worker: &Worker) -> Self {
        let stream = TcpStream::connect(worker.socket).await.unwrap();
        let builder = http2::Builder::new(TokioExecutor::new());
        let (mut requests, connection) = builder.handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let (bytes, written) = mpsc::unbounded_channel();
        let written = stream::unfold(written, |mut written: mpsc::UnboundedReceiver<Bytes>| async move {
            Some((Ok::<_, std::io::Error>(written.recv().await?), written))
        });
        let uri = format!("{}{PATH}", worker.address);
        let body = axum::body::Body::from_stream(written);
        let request = Request::post(uri).body(body).unwrap();
        let answer = requests.send_request(request).await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        let mut reader = Reader::new(answer.into_body());
        reader.greeted();
        Self { bytes, reader }
    }

    async fn greeted(worker: &Worker) -> Self {
        let mut raw = Self::link(worker).await;
        let (from, to, nonce) = ("raw".to_owned(), worker.id.to_string(), Bytes::from(vec![1; 32]));
        raw.write(Kind::Hello(Hello { from, to, nonce: nonce.clone() }));
        let Ok(Kind::Challenge(Challenge { nonce: server_nonce })) = raw.next().await else {
            panic!("no challenge")
        };
        let greeting =
            Greeting { from: "raw", to: &worker.id, client_nonce: &nonce, server_nonce: &server_nonce };
        let proof = greeting.proof(secret().as_ref(), Side::Client).to_vec();
        raw.write(Kind::Proof(Proof { proof: proof.into() }));
        assert!(matches!(raw.next().await, Ok(Kind::Welcome(_))));
        raw
    }

    fn write(&self, kind: Kind) {
        let mut bytes = BytesMut::new();
        Frame::write(kind, &mut bytes);
        self.bytes.send(bytes.freeze()).unwrap();
    }

    async fn next(&mut self) -> Result<Kind, ReadError> {
        soon(self.reader.next()).await
    }

    /// Reads until the link has ended.
    async fn until_ended(&mut self) {
        while self.next().await.is_ok() {}
    }
}

fn open(call: u64, kind: u32, body: &'static [u8]) -> Open {
    Open {
        call,
        kind,
        deadline_ms: 60_000,
        message_bytes: body.len() as u64,
        body: Bytes::from_static(body),
        more: false,
        end: true,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_breaks_the_protocol_loses_its_link_and_nothing_else() {
    let (worker, peers) = (worker().await, peers());
    let data = |call, bytes, more| {
        Kind::Data(Data { call, body: vec![0; bytes].into(), more, end: false, empty: false })
    };
    let wrong: Vec<(&str, Vec<Kind>)> = vec![
        ("a number twice", vec![Kind::Open(open(1, HANG, b"")), Kind::Open(open(1, HANG, b""))]),
        ("a lower number", vec![Kind::Open(open(2, HANG, b"")), Kind::Open(open(1, HANG, b""))]),
        ("longer than said", vec![Kind::Open(Open { message_bytes: 1, ..open(1, HANG, b"two") })]),
        ("shorter than said", vec![Kind::Open(Open { message_bytes: 9, ..open(1, HANG, b"two") })]),
        ("more of nothing", vec![Kind::Open(Open { more: true, end: false, ..open(1, HANG, b"") })]),
        (
            "an end within a message",
            vec![Kind::Open(Open { message_bytes: 9, more: true, ..open(1, HANG, b"two") })],
        ),
        ("after the end", vec![Kind::Open(open(1, HANG, b"")), data(1, 1, false)]),
        ("without credit", vec![Kind::Open(Open { end: false, ..open(1, HANG, b"") }), data(1, 1, false)]),
        (
            "endless credit",
            vec![Kind::Open(open(1, HANG, b"")), Kind::Credit(Credit { call: 1, bytes: u64::MAX })],
        ),
        ("a greeting again", vec![Kind::Challenge(Challenge { nonce: Bytes::new() })]),
    ];
    for (what, frames) in wrong {
        let mut raw = Raw::greeted(&worker).await;
        frames.into_iter().for_each(|frame| raw.write(frame));
        raw.until_ended().await;
        worker.until_serving(0).await;
        assert_eq!(worker.call(&peers, ECHO, what).await, Ok(what.into()));
    }
    for garbage in [&b"\x03abc"[..], b"\xff\xff\xff\xff\xff", b"\xff\xff\x7f"] {
        let mut raw = Raw::greeted(&worker).await;
        raw.bytes.send(Bytes::from_static(garbage)).unwrap();
        raw.until_ended().await;
    }
    assert_eq!(worker.call(&peers, ECHO, "after all").await, Ok("after all".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn before_the_greeting_nothing_is_served() {
    let worker = worker().await;
    let bytes = |kind| {
        let mut bytes = BytesMut::new();
        Frame::write(kind, &mut bytes);
        bytes.freeze()
    };
    let hello = |from: &str, nonce| {
        let (from, to) = (from.to_owned(), worker.id.to_string());
        bytes(Kind::Hello(Hello { from, to, nonce: vec![1; nonce].into() }))
    };
    let first = [
        bytes(Kind::Open(open(1, ECHO, b"hello"))),
        Bytes::from_static(b"GET / HTTP/1.1\r\nhost: a name that is long enough to be read as the frame of that length\r\n\r\n"),
        Bytes::from(vec![0xff; 100]),
        hello("", 32),
        hello("raw", 31),
        hello(&"r".repeat(600), 32),
        bytes(Kind::Proof(Proof { proof: vec![0; 32].into() })),
    ];
    for first in first {
        let mut raw = Raw::link(&worker).await;
        raw.bytes.send(first).unwrap();
        assert!(matches!(raw.next().await, Ok(Kind::Refusal(_))));
        raw.until_ended().await;
    }
    // A call that follows on a proof that is wrong.
    let mut raw = Raw::link(&worker).await;
    raw.bytes.send(hello("raw", 32)).unwrap();
    raw.write(Kind::Proof(Proof { proof: vec![0; 32].into() }));
    raw.write(Kind::Open(open(1, ECHO, b"hello")));
    assert!(matches!(raw.next().await, Ok(Kind::Challenge(_))));
    assert!(matches!(raw.next().await, Ok(Kind::Refusal(_))));
    raw.until_ended().await;
    assert_eq!(worker.told.served.load(Ordering::SeqCst), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_a_bound_refuses_is_known_not_to_be_served() {
    let (worker, mut numbers) = (worker().await, 1u64..);
    let mut raw = Raw::greeted(&worker).await;
    let open =
        Open { message_bytes: u64::MAX, more: true, end: false, ..open(numbers.next().unwrap(), ECHO, b"x") };
    raw.write(Kind::Open(open));
    let Ok(Kind::Failure(failure)) = raw.next().await else { panic!("no failure") };
    assert!(failure.message.contains("is the most"), "{}", failure.message);
    // What follows of it is thrown away.
    raw.write(Kind::Data(Data { call: 1, body: vec![0; 1_000].into(), ..Data::default() }));
    raw.write(Kind::Open(super::frames::open(numbers.next().unwrap(), ECHO, b"next")));
    let Ok(Kind::Data(data)) = raw.next().await else { panic!("no answer") };
    assert_eq!((data.call, &data.body[..], data.end), (2, &b"next"[..], true));
    assert_eq!(worker.told.served.load(Ordering::SeqCst), 1);
}
