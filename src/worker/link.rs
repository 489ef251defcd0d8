//! Questions about partitions over the link between workers.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt, stream};

use crate::coordination::{Member, WorkerId};
use crate::worker::OutputStream;

use super::partition::Service;
use super::peer::{CallError, PeerService, Peers, ServerCall};
use super::router::{Link, LinkError};

#[async_trait]
impl Link for Peers {
    async fn call(
        &self,
        member: &Member,
        kind: u32,
        body: Bytes,
        within: Duration,
    ) -> Result<Bytes, LinkError> {
        Ok(Peers::call(self, &member.address, &member.id, kind, body, within).await?)
    }

    async fn stream(
        &self,
        member: &Member,
        kind: u32,
        body: Bytes,
        within: Duration,
    ) -> Result<OutputStream, LinkError> {
        let mut call = self.open(&member.address, &member.id, kind, body, within).await?;
        // The first part says that there is an answer at all.
        let first = call.recv().await.transpose()?;
        let rest = stream::unfold(call, |mut call| async move {
            let part = call.recv().await?;
            Some((part.map_err(Into::into), call))
        });
        // An empty part of its own makes sure that there is a first one.
        Ok(stream::iter(first.filter(|part| !part.is_empty()).map(Ok)).chain(rest).boxed())
    }
}

impl From<CallError> for LinkError {
    fn from(error: CallError) -> Self {
        match error {
            CallError::NotSent { message, .. } => Self::NotSent(message),
            CallError::Unknown { message } => Self::Unknown(message),
            CallError::Refused(error) => Self::Refused(error),
        }
    }
}

#[async_trait]
impl PeerService for Service {
    async fn serve(&self, _: WorkerId, kind: u32, message: Bytes, mut call: ServerCall) {
        if !Self::is_stream(kind) {
            return match self.answer(kind, message).await {
                Ok(answer) => call.answer(answer).await,
                Err(error) => call.refuse(error),
            };
        }
        let mut parts = match self.stream(kind, message).await {
            Ok(parts) => parts,
            Err(error) => return call.refuse(error),
        };
        if call.send(Bytes::new()).await.is_err() {
            return;
        }
        while let Some(part) = parts.next().await {
            match part {
                Ok(part) => {
                    if call.send(part).await.is_err() {
                        return;
                    }
                }
                Err(error) => return call.refuse(error),
            }
        }
        call.end();
    }
}
