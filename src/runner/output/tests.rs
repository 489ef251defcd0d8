use super::*;

use proptest::prelude::*;
/// Keeps chunks in memory; refuses as many puts as it is told to.
#[derive(Default)]
struct Kept {
    chunks: Mutex<Vec<(u32, Bytes)>>,
    refusals: Mutex<u32>,
    offered: Notify,
}

impl Kept {
    fn refusing(refusals: u32) -> Arc<Self> {
        Arc::new(Self { refusals: Mutex::new(refusals), ..Self::default() })
    }

    fn text(&self) -> Vec<u8> {
        self.chunks.lock().unwrap().iter().flat_map(|(_, bytes)| bytes.to_vec()).collect()
    }

    fn numbers(&self) -> Vec<u32> {
        self.chunks.lock().unwrap().iter().map(|(number, _)| *number).collect()
    }
}

#[async_trait]
impl ChunkSink for Kept {
    async fn put(&self, chunk: u32, bytes: Bytes) -> bool {
        assert!(bytes.len() <= crate::model::limits::CHUNK_BYTES_MAX);
        {
            let mut refusals = self.refusals.lock().unwrap();
            if *refusals > 0 {
                *refusals -= 1;
                return false;
            }
        }
        self.chunks.lock().unwrap().push((chunk, bytes));
        self.offered.notify_one();
        true
    }
}

#[tokio::test(start_paused = true)]
async fn a_little_output_is_kept_within_the_flush_time_while_the_attempt_runs() {
    let sink = Kept::refusing(0);
    let output = Output::new(sink.clone());
    let start = Instant::now();
    output.write(b"one ").await;
    output.write(b"two\n").await;
    sink.offered.notified().await;
    assert_eq!(sink.text(), b"one two\n");
    assert!(start.elapsed() <= FLUSH_AFTER + Duration::from_millis(1));
    assert!(output.shared.as_ref().unwrap().lock().pending.is_empty());
    output.write(b"three\n").await;
    let kept = output.finish().await;
    assert_eq!(kept, KeptOutput { chunks: 2, bytes: 14, dropped_bytes: 0 });
    assert_eq!(sink.numbers(), [0, 1]);
}

#[tokio::test(start_paused = true)]
async fn a_full_chunk_does_not_wait_for_the_flush_time() {
    let sink = Kept::refusing(0);
    let output = Output::new(sink.clone());
    let start = Instant::now();
    output.write(&vec![b'x'; CHUNK_BYTES + 1]).await;
    sink.offered.notified().await;
    assert_eq!(start.elapsed(), Duration::ZERO);
    assert_eq!(sink.text().len(), CHUNK_BYTES);
}

#[tokio::test(start_paused = true)]
async fn nothing_runs_while_nothing_is_pending() {
    let sink = Kept::refusing(0);
    let output = Output::new(sink.clone());
    output.write(b"x").await;
    sink.offered.notified().await;
    while output.shared.as_ref().unwrap().lock().flusher.is_some() {
        tokio::task::yield_now().await;
    }
    assert_eq!(Arc::strong_count(output.shared.as_ref().unwrap()), 1);
}

#[tokio::test(start_paused = true)]
async fn the_start_and_the_end_of_a_long_output_are_kept_with_a_mark_between() {
    let sink = Kept::refusing(0);
    let output = Output::new(sink.clone());
    let mut written = Vec::new();
    for number in 0..200_000 {
        let line = format!("line {number}\n");
        output.write(line.as_bytes()).await;
        written.extend_from_slice(line.as_bytes());
    }
    let kept = output.finish().await;
    let text = sink.text();
    assert!(text.starts_with(&written[..HEAD_BYTES_MAX]));
    let mark = format!("[… {} bytes left out …]\n", kept.dropped_bytes);
    let at = text.windows(mark.len()).position(|window| window == mark.as_bytes()).unwrap();
    let tail = &text[at + mark.len()..];
    assert!(written.ends_with(tail) && tail.starts_with(b"line "));
    assert!(tail.len() > TAIL_BYTES_MAX - LINE_LOOK_BYTES);
    assert_eq!(written.len(), HEAD_BYTES_MAX + tail.len() + kept.dropped_bytes as usize);
    assert_eq!(kept.bytes as usize, text.len());
}

#[tokio::test(start_paused = true)]
async fn a_refused_chunk_is_offered_again_under_its_number() {
    let sink = Kept::refusing(PUT_TRIES - 1);
    let output = Output::new(sink.clone());
    output.write(b"kept").await;
    let kept = output.finish().await;
    assert_eq!(kept, KeptOutput { chunks: 1, bytes: 4, dropped_bytes: 0 });
    assert_eq!((sink.numbers(), sink.text()), (vec![0], b"kept".to_vec()));
}

#[tokio::test(start_paused = true)]
async fn a_sink_that_fails_does_not_fail_the_attempt_and_leaves_no_gap() {
    let sink = Kept::refusing(0);
    let output = Output::new(sink.clone());
    output.write(b"first").await;
    sink.offered.notified().await;
    *sink.refusals.lock().unwrap() = PUT_TRIES;
    output.write(b"lost").await;
    tokio::time::sleep(FLUSH_AFTER * 10).await;
    output.write(b"also lost").await;
    let kept = output.finish().await;
    assert_eq!(kept, KeptOutput { chunks: 1, bytes: 5, dropped_bytes: 13 });
    assert_eq!(sink.numbers(), [0]);
}

struct Panics;

#[async_trait]
impl ChunkSink for Panics {
    async fn put(&self, _: u32, _: Bytes) -> bool {
        panic!("a broken sink")
    }
}

#[tokio::test(start_paused = true)]
async fn a_sink_that_panics_does_not_fail_the_attempt() {
    let output = Output::new(Arc::new(Panics));
    output.write(b"lost").await;
    let kept = output.finish().await;
    assert_eq!(kept.chunks, 0);
}

struct Hangs;

#[async_trait]
impl ChunkSink for Hangs {
    async fn put(&self, _: u32, _: Bytes) -> bool {
        std::future::pending().await
    }
}

#[tokio::test]
async fn a_gigabyte_costs_bounded_memory_and_no_waiting_for_the_sink() {
    let output = Output::new(Arc::new(Hangs));
    let block = vec![b'x'; 64 << 10];
    for _ in 0..16 << 10 {
        output.write(&block).await;
    }
    let gathered = output.shared.as_ref().unwrap().lock();
    assert!(gathered.pending.len() <= HEAD_BYTES_MAX && gathered.pending.capacity() <= 4 * HEAD_BYTES_MAX);
    assert!(gathered.tail.capacity() <= 4 * TAIL_BYTES_MAX);
}

#[tokio::test]
async fn output_that_nobody_wants_keeps_nothing() {
    let output = Output::discard();
    output.write(b"x").await;
    assert_eq!(output.finish().await, KeptOutput::default());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_byte_is_kept_in_order_or_counted(sizes in proptest::collection::vec(0usize..100_000, 0..12)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let sink = Kept::refusing(0);
            let output = Output::new(sink.clone());
            let mut written = Vec::new();
            for (number, size) in sizes.iter().enumerate() {
                let bytes = vec![b'a' + number as u8; *size];
                output.write(&bytes).await;
                written.extend_from_slice(&bytes);
                tokio::task::yield_now().await;
            }
            let kept = output.finish().await;
            let text = sink.text();
            prop_assert_eq!(kept.bytes as usize, text.len());
            prop_assert_eq!(sink.numbers(), (0..kept.chunks).collect::<Vec<_>>());
            if kept.dropped_bytes == 0 {
                prop_assert_eq!(text, written);
            } else {
                let mark = format!("\n[… {} bytes left out …]\n", kept.dropped_bytes);
                prop_assert_eq!(text.len() - mark.len() + kept.dropped_bytes as usize, written.len());
                prop_assert!(written.starts_with(&text[..HEAD_BYTES_MAX]));
                prop_assert!(written.ends_with(&text[HEAD_BYTES_MAX + mark.len()..]));
            }
            Ok(())
        })?;
    }
}
