//! What an honest member notices while a hostile peer floods the node that it talks to: how long its
//! questions take, and how much memory the node has. Each of the three is a host of its own, as far
//! as the network is concerned.

use std::{
    fs::File,
    io,
    os::fd::AsFd,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use caravan_protocol::identity::invite::Invite;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::{
    Failure,
    asker::Asker,
    fleet::{Fleet, LOOK},
    hostile,
    nodes::Nodes,
    proc::Usage,
    sample,
};

/// Time for a start to be over.
const REST: Duration = Duration::from_secs(5);

/// Asks for a while, and again under a flood of this kind.
pub(crate) fn run(
    nodes: &mut Nodes,
    prefix: &str,
    time: Duration,
    how: &str,
) -> Result<(), Failure> {
    nodes.start(0)?;
    let tokens = [nodes.invite("asker")?, nodes.invite("hostile")?];
    let [asking, hostile] = tokens.map(|token| token.parse::<Invite>());
    let (asking, hostile) = (asking?, hostile?);
    let flood = hostile::Flood::of(how)?;
    let stop = Arc::new(AtomicBool::new(false));
    let begin = Arc::new(AtomicBool::new(false));
    let victim = nodes.process(0).ok_or("the node is not running")?;

    let hosts = thread::scope(|scope| -> Result<(), Failure> {
        let attack = {
            let (stop, begin) = (Arc::clone(&stop), Arc::clone(&begin));
            let place = format!("{prefix}2");
            scope.spawn(move || {
                on(&place, async move {
                    flood
                        .run(&hostile, &begin, &stop)
                        .await
                        .map_err(|error| error.to_string())
                })
            })
        };
        let place = format!("{prefix}1");
        let asked = scope.spawn(move || {
            on(&place, async {
                ask(&asking, time, victim, &begin)
                    .await
                    .map_err(|error| error.to_string())
            })
        });
        let asked = asked.join().map_err(|_| "the asker panicked")?;
        stop.store(true, Ordering::Relaxed);
        let attacked = attack.join().map_err(|_| "the flood panicked")?;
        let told = asked??;
        eprintln!("bench: the flood: {}", attacked??);
        told.tell();
        Ok(())
    });
    hosts?;
    nodes.check_words(0)
}

/// What was noticed.
struct Told {
    quiet_p99: Duration,
    flooded_p99: Duration,
    quiet_rss: u64,
    flooded_rss: u64,
}

impl Told {
    fn tell(&self) {
        #[expect(clippy::cast_precision_loss, reason = "far below 2^52 bytes")]
        let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        sample("flood_p99", "ours", self.flooded_p99.as_secs_f64());
        sample("flood_p99", "theirs", self.quiet_p99.as_secs_f64());
        sample("flood_rss", "ours", mib(self.flooded_rss));
        sample("flood_rss", "theirs", mib(self.quiet_rss));
    }
}

async fn ask(
    invite: &Invite,
    time: Duration,
    victim: u32,
    begin: &AtomicBool,
) -> Result<Told, Failure> {
    let asker = Asker::join(invite).await?;
    tokio::time::sleep(REST).await;
    let (quiet_p99, quiet_rss) = measure(&asker, time, victim).await?;
    begin.store(true, Ordering::Relaxed);
    let (flooded_p99, flooded_rss) = measure(&asker, time, victim).await?;
    asker.leave().await;
    Ok(Told {
        quiet_p99,
        flooded_p99,
        quiet_rss,
        flooded_rss,
    })
}

/// The slowest of a hundred answers, and the most memory.
async fn measure(asker: &Asker, time: Duration, victim: u32) -> Result<(Duration, u64), Failure> {
    let (mut took, mut most, began) = (Vec::new(), 0, Instant::now());
    while began.elapsed() < time {
        let asked = Instant::now();
        asker.ask().await?;
        took.push(asked.elapsed());
        most = most.max(Usage::of(victim)?.resident);
        tokio::time::sleep(LOOK * 2).await;
    }
    took.sort_unstable();
    let p99 = took[took.len() - 1 - took.len() / 100];
    let middle = took[took.len() / 2];
    eprintln!(
        "bench: {} questions: median {middle:?}, 99 % within {p99:?}",
        took.len()
    );
    Ok((p99, most))
}

/// Runs something on a thread that is in a network namespace, with all that it spawns.
fn on<T>(
    namespace: &str,
    work: impl Future<Output = Result<T, String>>,
) -> Result<Result<T, String>, io::Error> {
    let place = File::open(format!("/run/netns/{namespace}"))?;
    move_into_link_name_space(place.as_fd(), Some(LinkNameSpaceType::Network))?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    Ok(runtime.block_on(work))
}
