//! Peers that want to keep a node busy: a member that sends without end, and strangers that shake
//! hands without end.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use caravan_mesh::rogue::Rogue;
use caravan_protocol::{identity::invite::Invite, platform::Platform};
use tokio::{task::JoinSet, time::MissedTickBehavior};

use crate::{Failure, asker::key};

/// Messages of the member in one second.
const MESSAGES_PER_S: u32 = 10_000;
/// Handshakes of strangers in one minute.
const HANDSHAKES_PER_MIN: u32 = 10_000;
/// Handshakes under way at once: a node that lets them wait is not asked for more.
const HANDSHAKES_MAX: usize = 256;
const LOOK: Duration = Duration::from_millis(20);

/// A kind of flood.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Flood {
    Messages,
    Handshakes,
}

impl Flood {
    pub(crate) fn of(word: &str) -> Result<Self, Failure> {
        match word {
            "messages" => Ok(Self::Messages),
            "handshakes" => Ok(Self::Handshakes),
            _ => Err(format!("there is no flood of {word}").into()),
        }
    }

    /// Waits for `begin` and floods until `stop`; says how much it was.
    pub(crate) async fn run(
        self,
        invite: &Invite,
        begin: &AtomicBool,
        stop: &AtomicBool,
    ) -> Result<String, Failure> {
        let wait = async || {
            while !begin.load(Ordering::Relaxed) && !stop.load(Ordering::Relaxed) {
                tokio::time::sleep(LOOK).await;
            }
        };
        match self {
            Self::Messages => {
                let key = key()?;
                let joined = caravan_mesh::join(invite, &key, &[Platform::here()]).await?;
                let founder = joined.roster.genesis().founder;
                let address = invite
                    .addresses
                    .first()
                    .ok_or("the token names no address")?;
                let address = caravan_mesh::address_with_node(address, founder)?;
                wait().await;
                messages(&address, &Rogue::new(key, joined.cert), stop).await
            }
            Self::Handshakes => {
                wait().await;
                handshakes(invite, stop).await
            }
        }
    }
}

/// As a member that does not care what it is told. Whenever it is cut off it comes again.
async fn messages(address: &str, rogue: &Rogue, stop: &AtomicBool) -> Result<String, Failure> {
    let mut told = (0, 0, 0);
    while !stop.load(Ordering::Relaxed) {
        told.1 += 1;
        match rogue.connect(address).await {
            Ok(mut connected) => told.0 += connected.flood(MESSAGES_PER_S, stop).await,
            Err(_) => {
                told.2 += 1;
                tokio::time::sleep(LOOK).await;
            }
        }
    }
    let (sent, connections, refused) = told;
    Ok(format!(
        "{sent} messages over {connections} connections, {refused} of them refused"
    ))
}

/// As strangers, each with a key of its own and a secret that is none.
async fn handshakes(invite: &Invite, stop: &AtomicBool) -> Result<String, Failure> {
    let mut beat = tokio::time::interval(Duration::from_secs(60) / HANDSHAKES_PER_MIN);
    beat.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut under_way = JoinSet::new();
    let (mut begun, mut answered) = (0u64, 0u64);
    while !stop.load(Ordering::Relaxed) {
        beat.tick().await;
        let mut invite = invite.clone();
        invite.seed = [7; 16];
        let key = key()?;
        begun += 1;
        under_way.spawn(async move {
            let joined = caravan_mesh::join(&invite, &key, &[Platform::here()]).await;
            matches!(joined, Err(caravan_mesh::JoinError::Refused(_)))
        });
        while under_way.len() >= HANDSHAKES_MAX {
            under_way.join_next().await;
        }
        while let Some(done) = under_way.try_join_next() {
            answered += u64::from(done.unwrap_or(false));
        }
    }
    Ok(format!(
        "{begun} handshakes begun, {answered} answered to their end"
    ))
}
