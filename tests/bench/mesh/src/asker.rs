//! An honest member that asks a node small questions and waits for the answers.

use std::{io, sync::Arc, time::Duration};

use caravan_mesh::{BlobSource, Config, Event, Handle, Mesh, ReadAt};
use caravan_protocol::{
    codec,
    identity::{Key, invite::Invite},
    ids::{BlobId, NodeId},
    platform::Platform,
};
use serde::Serialize;
use tokio::{sync::mpsc, task::JoinHandle};

use crate::Failure;

const ANSWER_MAX: Duration = Duration::from_secs(30);

/// As `caravan_node` puts it: the first of its questions.
#[derive(Serialize)]
enum Question {
    Bases,
}

/// A member without a store.
struct NoBlobs;

impl BlobSource for NoBlobs {
    fn open(&self, _: BlobId) -> io::Result<Option<(u64, Box<dyn ReadAt>)>> {
        Ok(None)
    }
}

/// A new key.
pub(crate) fn key() -> Result<Key, Failure> {
    let mut secret = [0; 32];
    getrandom::fill(&mut secret)?;
    Ok(Key::from_secret(&secret))
}

pub(crate) struct Asker {
    handle: Handle,
    founder: NodeId,
    question: Vec<u8>,
    listening: JoinHandle<()>,
}

impl Asker {
    /// Joins the mesh and meets its founder.
    pub(crate) async fn join(invite: &Invite) -> Result<Self, Failure> {
        let key = key()?;
        let joined = caravan_mesh::join(invite, &key, &[Platform::here()]).await?;
        let founder = joined.roster.genesis().founder;
        let mut config = Config::new(&key, joined.cert, joined.roster, Arc::new(NoBlobs));
        config.contacts = joined.contacts;
        config.seeds.clone_from(&invite.addresses);
        let (handle, mut events) = Mesh::start(config).await?;
        let up = async {
            while let Some(event) = events.recv().await {
                if matches!(event, Event::Up { node, .. } if node == founder) {
                    return true;
                }
            }
            false
        };
        if !tokio::time::timeout(ANSWER_MAX, up).await? {
            return Err("the asker's part in the mesh ended".into());
        }
        Ok(Self {
            handle,
            founder,
            question: codec::encode::<1024>(&Question::Bases)?,
            listening: tokio::spawn(drain(events)),
        })
    }

    /// Asks once.
    pub(crate) async fn ask(&self) -> Result<(), Failure> {
        let asked = self.handle.request(self.founder, self.question.clone());
        tokio::time::timeout(ANSWER_MAX, asked).await??;
        Ok(())
    }

    /// Ends it.
    pub(crate) async fn leave(self) {
        self.handle.shutdown().await;
        let _ = self.listening.await;
    }
}

/// Somebody has to read the events.
async fn drain(mut events: mpsc::Receiver<Event>) {
    while events.recv().await.is_some() {}
}
