//! Bulk streams that peers open.

use std::sync::Arc;

use libp2p::{PeerId, Stream};

use super::{Actor, Done, Standing};
use crate::{
    bucket::Verdict,
    bulk::serve,
    limits::{BULK_HELD_MAX, BULK_MAX},
    purse::Speech,
    traffic::Way,
};

impl Actor {
    pub(super) fn bulk_asked(&mut self, peer: PeerId, stream: Stream) {
        let Some(entry) = self.peers.get_mut(&peer) else {
            return;
        };
        match entry.standing {
            Standing::Member { .. } => {}
            // A peer that was dialled may be faster than its own answer to the hello.
            Standing::Stranger { dialled: true, .. } if entry.held.len() < BULK_HELD_MAX => {
                entry.held.push(stream);
                return;
            }
            Standing::Stranger { .. } => return,
        }
        if entry.leaving {
            return;
        }
        entry.used = std::time::Instant::now();
        let node = entry.node;
        let moved = Arc::clone(&entry.moved);
        let verdict = self.within_rate(peer, Speech::Bulk);
        if verdict == Verdict::Cut {
            return self.cut(peer, node);
        }
        if verdict == Verdict::Drop || !self.slots.take(peer) {
            self.tally.bulk_busy.add(1);
            // Saying so is a courtesy, and bounded as well; each peer has two tasks at its links.
            if self.tasks.len() < 4 * BULK_MAX + 2 * self.peers.len() {
                self.tasks
                    .spawn(serve::turn_away(stream, self.shop.terms.clone()));
            }
            return;
        }
        #[cfg(any(test, feature = "rogue"))]
        if let Some(liar) = self.shop.liar.clone() {
            drop(self.tasks.spawn(liar.serve(stream)));
            return;
        }
        self.tally.traffic.watch(node, Way::Out, &moved);
        let work = serve::serve(stream, node, moved, self.shop.clone());
        let work = self.tasks.spawn(work);
        self.replies.push(Box::pin(async move {
            match work.await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::debug!(%peer, %error, "a bulk stream ended early"),
                Err(error) => tracing::error!(%peer, %error, "serving a bulk stream failed"),
            }
            Done::Served { peer }
        }));
    }
}
