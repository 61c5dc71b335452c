//! A driver alone, without a mesh: certificates, and the council's words.

use std::{fs, os::unix::fs::PermissionsExt as _, time::Duration};

use caravan_effects::{base::Recipes, fetch::Fetcher};
use caravan_mesh::{Contact, Event as MeshEvent};
use caravan_protocol::{
    identity::{Genesis, Key, Tier, cordon::Cordon, revocation::Revocation},
    limits::CERT_LIFE_MS,
};
use caravan_sandbox::FakeSandbox;

use super::{questions::Answer, *};
use crate::home::HomeError;

const HOUR: Duration = Duration::from_secs(3600);

/// A driver and what it stands on.
struct Ground {
    dir: tempfile::TempDir,
    driver: Driver,
    /// The key of the mesh's founding node.
    founder: Key,
    _notices: mpsc::Receiver<Notice>,
}

/// Whose driver.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Who {
    Founder,
    /// With a certificate that begins now and lives for so long.
    Member(Duration),
}

impl Ground {
    /// The driver of a node whose mesh's certificates live for `life`; none where there is no root.
    fn new(who: Who, life: Duration) -> Option<Self> {
        if !crate::is_root() {
            eprintln!("SKIPPED: a store needs root");
            return None;
        }
        let dir = tempfile::tempdir().expect("writable");
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o700)).expect("ours");
        let home = Home::open(dir.path()).expect("new");
        let now = clock::stamp();
        let founder = match who {
            Who::Founder => Key::from_secret(&home.key.secret()),
            Who::Member(lives) => {
                let founder = Key::from_secret(&[1; 32]);
                let genesis = Genesis {
                    founder: founder.node(),
                    created: now,
                    nonce: [2; 32],
                };
                let cert = cert(&genesis, home.key.node(), (now, now.after(lives)));
                let signed = Signed::sign(&founder, &cert).expect("small");
                home.join(&genesis, &[signed], now).expect("joined");
                founder
            }
        };
        let mut config = Config::new(dir.path().to_owned());
        config.cert_life = life;
        let membership = home.membership("ann", life, now).expect("a member");
        let (shared, notices) = shared(config, home);
        let (snapshots, _) = watch::channel(Arc::new(crate::node::empty(&shared, &membership)));
        Some(Self {
            dir,
            driver: Driver::new(Arc::new(shared), membership, 1, snapshots),
            founder,
            _notices: notices,
        })
    }

    fn me(&self) -> NodeId {
        self.driver.shared.home.key.node()
    }

    /// A certificate by the founding node.
    fn cert(&self, node: NodeId, dates: (Stamp, Stamp)) -> Signed<NodeCert> {
        let cert = cert(self.driver.membership.roster.genesis(), node, dates);
        Signed::sign(&self.founder, &cert).expect("small")
    }

    /// As when a member with this certificate has been admitted here.
    fn admit(&mut self, signed: &Signed<NodeCert>) {
        let roster = Arc::make_mut(&mut self.driver.membership.roster);
        let cert = roster.admit(signed, clock::stamp()).expect("it is good");
        let certs = &mut self.driver.membership.certs;
        certs.insert(cert.node, signed.clone());
    }

    fn own(&self) -> NodeCert {
        let own = self.driver.membership.roster.vouches(self.me());
        own.expect("a member").clone()
    }

    /// A word of the council on this node.
    fn cordon(&self, on: bool, at: Stamp) -> Signed<Cordon> {
        let cordon = Cordon {
            mesh: self.driver.membership.roster.mesh(),
            node: self.me(),
            on,
            why: "a new disk".to_owned(),
            at,
        };
        Signed::sign(&self.founder, &cordon).expect("small")
    }
}

fn shared(config: Config, home: Home) -> (Shared, mpsc::Receiver<Notice>) {
    let recipes = Recipes::install(&config.data.join("recipes")).expect("writable");
    let fetcher = Fetcher::new(recipes.clone(), config.data.join("fetch"), Vec::new());
    let sandbox = Arc::new(FakeSandbox::default());
    let builder = Builder::new(home.store.clone(), sandbox, fetcher, "ntest".to_owned());
    let (notices, heard) = mpsc::channel(INBOX_MAX);
    let shared = Shared {
        gathered: Gathered::new(caravan_protocol::ids::MeshId::from_bytes([0; 32])),
        config,
        home,
        builder,
        mesh: None,
        factories: Vec::new(),
        recipes,
        tasks: Tasks::new(),
        notices,
        importing: tokio::sync::Mutex::default(),
        repositories: RepositoryCache::default(),
        keeping: Keeping::default(),
        pace: Pace::default(),
        opened: Opened::default(),
        sandbox: caravan_protocol::view::SandboxView::default(),
        facts: Facts::default(),
        unusable: Vec::new(),
    };
    (shared, heard)
}

fn cert(genesis: &Genesis, node: NodeId, (not_before, expires): (Stamp, Stamp)) -> NodeCert {
    NodeCert {
        mesh: genesis.mesh().expect("small"),
        node,
        operator: "bob".to_owned(),
        tier: Tier::Donor,
        platforms: Vec::new(),
        not_before,
        expires,
    }
}

fn week() -> Duration {
    Duration::from_millis(CERT_LIFE_MS)
}

/// So long before now.
fn ago(by: Duration) -> Stamp {
    let by = u64::try_from(by.as_millis()).expect("small");
    Stamp::from_ms(clock::stamp().as_ms() - by)
}

#[tokio::test]
async fn a_shorter_certificate_is_not_signed_anew_for_each_question() {
    let Some(mut ground) = Ground::new(Who::Founder, 2 * HOUR) else {
        return;
    };
    // From when certificates lived for a week: more than half of it is over, two days are left.
    let node = NodeId::from_bytes([9; 32]);
    let old = ground.cert(node, (ago(5 * 24 * HOUR), clock::stamp().after(48 * HOUR)));
    ground.admit(&old);
    let given = ground.driver.renew_member(node, Vec::new());
    assert_eq!(given, Ok(old), "a shorter one was signed");
    let kept = ground
        .driver
        .shared
        .home
        .store
        .record("cert", &node.to_string());
    assert_eq!(kept.expect("readable"), None, "it was written");
}

#[tokio::test]
async fn a_member_that_gets_nothing_longer_asks_again_later() {
    let Some(mut ground) = Ground::new(Who::Member(8 * HOUR), week()) else {
        return;
    };
    let own = ground.own();
    let over = (ago(10 * HOUR), own.expires.after(HOUR));
    let half_over = ground.cert(ground.me(), over);
    ground.driver.take_cert(&half_over).expect("it is longer");
    let due = |ground: &Ground| {
        let (now, time) = (clock::stamp(), clock::now());
        let renewal = &ground.driver.stance.renewal;
        renewal.is_due(&ground.own(), now, time)
    };
    assert!(due(&ground));
    ground.driver.stance.renewal.ask();
    let shorter = ground.cert(ground.me(), (ago(HOUR), clock::stamp().after(HOUR)));
    ground.driver.on_renewed(Ok(shorter), None);
    assert_eq!(ground.own().expires, over.1);
    assert!(!due(&ground), "it asks again at once");
    // What is longer ends the matter.
    let longer = ground.cert(ground.me(), (ago(HOUR), clock::stamp().after(24 * HOUR)));
    ground.driver.stance.renewal.ask();
    ground.driver.on_renewed(Ok(longer.clone()), None);
    assert_eq!(ground.driver.membership.cert, longer);
    assert!(!ground.driver.stance.renewal.is_asked() && !due(&ground));
}

#[tokio::test]
async fn a_certificate_from_the_future_gives_way_to_one_of_today() {
    let Some(mut ground) = Ground::new(Who::Founder, week()) else {
        return;
    };
    // Taken while this machine's clock was two days ahead.
    let ahead = clock::stamp().after(48 * HOUR);
    let me = ground.me();
    let early = ground.cert(me, (ahead, ahead.after(150 * HOUR)));
    let roster = Arc::make_mut(&mut ground.driver.membership.roster);
    roster.admit(&early, ahead).expect("it was valid");
    assert_eq!(ground.own().not_before, ahead);
    ground.driver.look_at_cert();
    assert!(ground.own().not_before <= clock::stamp(), "it is kept");
    assert_ne!(ground.driver.membership.cert, early);
    // The same for a member that asks.
    let node = NodeId::from_bytes([9; 32]);
    let early = ground.cert(node, (ahead, ahead.after(150 * HOUR)));
    let roster = Arc::make_mut(&mut ground.driver.membership.roster);
    roster.admit(&early, ahead).expect("it was valid");
    let given = ground.driver.renew_member(node, Vec::new());
    let given = given.expect("a member");
    let roster = &ground.driver.membership.roster;
    assert!(roster.check(&given, clock::stamp()).is_ok());
    assert_eq!(ground.driver.membership.certs.get(&node), Some(&given));
}

#[tokio::test]
async fn what_is_learned_of_a_member_is_what_it_gets_again() {
    let Some(mut ground) = Ground::new(Who::Founder, week()) else {
        return;
    };
    let node = NodeId::from_bytes([9; 32]);
    let first = ground.cert(node, (ago(HOUR), clock::stamp().after(HOUR)));
    ground.admit(&first);
    // Signed in a later state of this directory, which was put back from a copy since.
    let second = ground.cert(node, (ago(HOUR), clock::stamp().after(100 * HOUR)));
    ground.driver.on_learned(&[Contact {
        cert: second.clone(),
        addresses: Vec::new(),
    }]);
    assert_eq!(ground.driver.renew_member(node, Vec::new()), Ok(second));
    assert_eq!(ground.driver.membership.certs.len(), 1);
}

#[tokio::test]
async fn a_cordon_that_is_said_again_is_not_weighed_again() {
    let Some(mut ground) = Ground::new(Who::Member(week()), week()) else {
        return;
    };
    let said = ground.cordon(true, clock::stamp());
    assert!(matches!(ground.driver.hear_cordon(&said), Answer::Taken));
    assert!(ground.driver.stance.reasons.cordoned.is_some());
    // Only weighing it again would set what is taken away here.
    ground.driver.stance.reasons.cordoned = None;
    assert!(matches!(ground.driver.hear_cordon(&said), Answer::Taken));
    assert_eq!(ground.driver.stance.reasons.cordoned, None);
}

#[tokio::test]
async fn the_council_s_last_word_is_the_latest_whatever_its_clock_says() {
    let Some(mut ground) = Ground::new(Who::Founder, week()) else {
        return;
    };
    let node = NodeId::from_bytes([9; 32]);
    let dates = (ago(HOUR), clock::stamp().after(HOUR));
    let member = ground.cert(node, dates);
    ground.admit(&member);
    // Said while this machine's clock was two days ahead.
    let ahead = clock::stamp().after(48 * HOUR);
    let cordon = Cordon {
        mesh: ground.driver.membership.roster.mesh(),
        node,
        on: true,
        why: String::new(),
        at: ahead,
    };
    let signed = Signed::sign(&ground.founder, &cordon).expect("small");
    let home = &ground.driver.shared.home;
    home.save("cordon", &node.to_string(), &signed)
        .expect("kept");
    ground.driver.load_cordons();
    let on_it = ground.driver.stance.cordons.of(node);
    assert_eq!(on_it.map(|(said, _)| said), Some(&cordon));
    ground.driver.cordon(node, false, "").expect("a member");
    let home = &ground.driver.shared.home;
    let said = home.load::<Signed<Cordon>>("cordon", &node.to_string());
    let said = said.expect("readable").expect("kept");
    let said = (ground.driver.membership.roster).cordoned_by(&said, clock::stamp());
    let said = said.expect("its own");
    assert!(!said.on && said.at > ahead, "members pass it over");
}

#[tokio::test]
async fn a_node_that_hears_of_its_own_revocation_knows_it_for_good() {
    let Some(mut ground) = Ground::new(Who::Member(week()), week()) else {
        return;
    };
    let node = ground.me();
    let said = Revocation {
        mesh: ground.driver.membership.roster.mesh(),
        node,
        at: clock::stamp(),
    };
    let revocation = Signed::sign(&ground.founder, &said).expect("small");
    // As the mesh tells it, and once more by another way.
    for _ in 0..2 {
        let revocation = revocation.clone();
        ground
            .driver
            .on_membership(MeshEvent::Revoked { node, revocation });
        ground.driver.on_membership(MeshEvent::Evicted);
        ground.driver.look();
        ground.driver.publish();
    }
    assert!(ground.driver.stance.reasons.revoked);
    assert!(!ground.driver.stance.standing.lends);
    assert_eq!(ground.driver.cert_notice(), None);
    let Ground { dir, driver, .. } = ground;
    drop(driver);
    let home = Home::open(dir.path()).expect("there");
    let started = home.membership("x", week(), clock::stamp());
    let error = started.expect_err("it is out");
    assert!(matches!(error, HomeError::Revoked { .. }), "{error}");
    home.leave().expect("nothing in the way");
    drop(home);
    let home = Home::open(dir.path()).expect("there");
    assert_ne!(home.key.node(), node, "nobody takes that key again");
    assert!(!home.is_member().expect("readable"));
}
