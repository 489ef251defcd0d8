//! Many jobs, one JSON object a line.

use super::{InvalidRequest, parse_job};
use crate::model::NewJob;
use crate::model::limits::BATCH_JOBS_MAX;

/// Jobs, one a line; empty lines count but say nothing. The first line that is wrong is the answer.
pub fn parse_ndjson(bytes: &[u8], now_ms: u64) -> Result<Vec<NewJob>, InvalidRequest> {
    let mut jobs = Vec::new();
    for (index, line) in bytes.split(|&byte| byte == b'\n').enumerate() {
        let number = index + 1;
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        if jobs.len() == BATCH_JOBS_MAX {
            let message = format!("more than {BATCH_JOBS_MAX} jobs in one request: send them in several");
            return Err(InvalidRequest::whole(message).at_line(number));
        }
        jobs.push(parse_job(line, now_ms).map_err(|wrong| wrong.at_line(number))?);
    }
    if jobs.is_empty() {
        return Err(InvalidRequest::whole("there is no job in the body: send one JSON object a line"));
    }
    Ok(jobs)
}
