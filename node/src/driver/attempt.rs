//! Attempts: one try at an action on this node, from its bytes to what was built.

use caravan_mesh::Wanted;
use caravan_protocol::{
    action::Action,
    ids::{NodeId, TreeId},
    limits,
    offer::AttemptId,
};
use tokio_util::sync::CancellationToken;

use super::{
    Driver, Notice, inputs,
    outcome::{Landed, Reported},
};
use crate::build::Built;

impl Driver {
    /// Begins an attempt. Exactly one [`Notice::Built`] follows.
    pub(crate) fn start_attempt(&mut self, attempt: AttemptId, encoded: &[u8]) {
        let cancel = CancellationToken::new();
        self.attempts.insert(attempt, cancel.clone());
        self.changed = true;
        let shared = std::sync::Arc::clone(&self.shared);
        let key = attempt.job.action();
        let action = Action::decode(encoded);
        let own = attempt.owner == shared.home.key.node();
        let providers = self.providers(attempt.owner);
        if own {
            self.show_standing(key);
        }
        self.shared.tasks.spawn_to_end("attempt", async move {
            let mut fetched_bytes = 0;
            let built = match action {
                Ok(action) if action.key() == Ok(key) => {
                    match inputs::bring(&shared, &action, &providers, &cancel).await {
                        Ok(bytes) => {
                            fetched_bytes = bytes;
                            shared
                                .builder
                                .build(&action, &key.to_string(), &cancel)
                                .await
                        }
                        Err(why) => Built::infra(why),
                    }
                }
                Ok(_) => Built::infra("the action is not the one that was offered"),
                Err(error) => Built::infra(error.to_string()),
            };
            let notice = Notice::Built {
                attempt,
                action: key,
                built,
                fetched_bytes,
            };
            // The driver is gone only when the node stops, and then nobody waits.
            let _ = shared.notices.send(notice).await;
        });
    }

    /// Members to ask for what is not here: the owner of the work first.
    fn providers(&self, owner: NodeId) -> Vec<NodeId> {
        let own = self.shared.home.key.node();
        let connected = self
            .peers
            .values()
            .filter(|peer| peer.connected)
            .map(|peer| peer.node);
        let mut providers: Vec<NodeId> = connected
            .filter(|node| *node != own && *node != owner)
            .collect();
        if owner != own {
            providers.insert(0, owner);
        }
        providers
    }

    /// Brings another node's log and output here before its result is used.
    pub(crate) fn fetch_result(
        &mut self,
        key: caravan_protocol::ids::ActionKey,
        node: NodeId,
        report: Reported,
        claim: caravan_protocol::claim::Claim,
    ) {
        let shared = std::sync::Arc::clone(&self.shared);
        self.shared.tasks.spawn("fetch result", async move {
            let output: Vec<TreeId> = claim.output.into_iter().collect();
            let mut blobs: Vec<Wanted> = claim
                .outputs
                .values()
                .map(|blob| Wanted::at_most(*blob, limits::OUTPUT_BYTES_MAX))
                .collect();
            blobs.extend(
                claim
                    .log
                    .map(|log| Wanted::at_most(log, limits::LOG_BYTES_MAX)),
            );
            let fetched = inputs::fetch_all(&shared, &output, &blobs, &[node]).await;
            let landed = fetched.map(|bytes| Landed {
                claim: report.claim,
                words: report.words,
                bytes,
            });
            let _ = shared
                .notices
                .send(Notice::Landed {
                    job: key,
                    node,
                    landed,
                })
                .await;
        });
    }
}
