//! Calls and answers in words, for the story of a run.

use prost::Message;

use super::log::facts_of;
use super::store::{Answer, Said};
use crate::model::row::CommitRow;
use crate::store::Append;
use crate::worker::protocol::Request;

/// What a worker asks the store.
pub(crate) fn asked(request: &Request) -> String {
    match request {
        Request::Claims { limit: 1, .. } => "newest claim?".into(),
        Request::Claims { below, .. } => format!("claims below {}?", name(*below)),
        Request::InsertClaim { claim, .. } => format!("claims {}", claim.epoch),
        Request::Highest { .. } => "fence read".into(),
        Request::Progress { epoch, .. } => format!("progress of {epoch}?"),
        Request::Commits { segment, from, .. } => {
            format!("rows of {} segment {} from {from}?", segment.epoch, segment.segment)
        }
        Request::Repeat { append } => format!("writes again {}", row(append)),
        Request::Append { append } => format!("appends {}", row(append)),
        Request::PutSummary { segment, as_of, .. } => {
            format!(
                "summary of {} segment {} as of {}/{}",
                segment.epoch, segment.segment, as_of.epoch, as_of.commit
            )
        }
        Request::PutProgress { as_of, .. } => format!("progress as of {}/{}", as_of.epoch, as_of.commit),
        Request::DropSegment { segment } => format!("drops {} segment {}", segment.epoch, segment.segment),
        Request::Prune { keep, .. } => format!("prunes before {}/{}", keep.epoch, keep.commit),
    }
}

fn name(epoch: Option<crate::model::Epoch>) -> String {
    epoch.map_or("none".into(), |epoch| epoch.to_string())
}

fn row(append: &Append) -> String {
    let key = format!("{}/{} in segment {}", append.segment.epoch, append.commit, append.segment.segment);
    match CommitRow::decode(append.row.clone()) {
        Ok(row) => {
            let condemned = row.condemned.iter().map(|name| (name.epoch_number, name.segment));
            format!("{key}: facts {:?}, condemned {:?}", facts_of(&row), condemned.collect::<Vec<_>>())
        }
        Err(_) => key,
    }
}

/// What the store says.
pub(crate) fn said(said: &Said) -> String {
    match said {
        Said::Read(Answer::Claims(claims, _)) => {
            let epochs: Vec<String> = claims.iter().map(|claim| claim.epoch.to_string()).collect();
            format!("claims {}", epochs.join(", "))
        }
        Said::Read(Answer::Progress(rows, _)) => {
            format!("progress as of {:?}", rows.iter().map(|row| row.0).collect::<Vec<_>>())
        }
        Said::Read(Answer::Commits(rows, dropped)) => {
            let rows: Vec<u64> = rows.iter().map(|row| row.commit).collect();
            format!("rows {rows:?}{}", if *dropped { ", dropped" } else { "" })
        }
        Said::Read(answer) => format!("{answer:?}"),
        Said::Durable => "durable".into(),
        Said::Append(outcome) => format!("{outcome:?}"),
        Said::Unknown => "unknown".into(),
        Said::Refused => "refused".into(),
    }
}
