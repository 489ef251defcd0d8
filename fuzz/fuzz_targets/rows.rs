//! Stored rows: any bytes are a row or an error, and a row is encoded so that it is read alike.
#![no_main]

use libfuzzer_sys::fuzz_target;
use prost::Message;
use qdo::model::row::{CommitRow, ProgressRow, SummaryRow, TokensRow};

fn same<M: Message + Default>(bytes: &[u8]) {
    if let Ok(row) = M::decode(bytes) {
        let encoded = row.encode_to_vec();
        // Not the values: a floating point number that is none differs from itself.
        let again = M::decode(encoded.as_slice()).expect("what was encoded can be decoded");
        assert_eq!(again.encode_to_vec(), encoded);
    }
}

fuzz_target!(|bytes: &[u8]| {
    same::<CommitRow>(bytes);
    same::<SummaryRow>(bytes);
    same::<ProgressRow>(bytes);
    same::<TokensRow>(bytes);
});
