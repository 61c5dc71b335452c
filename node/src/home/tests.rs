use std::os::unix::fs::PermissionsExt;

use caravan_protocol::{
    ids::{MeshId, NodeId},
    limits,
};

use super::*;

const NOW: Stamp = Stamp::from_ms(1_000_000_000);
const LIFE: Duration = Duration::from_millis(limits::CERT_LIFE_MS);

/// Stores keep setuid files, so nobody else may look in.
fn directory() -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("writable");
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o700)).expect("ours");
    dir
}

/// A donor's certificate of one life from `NOW` on.
fn cert(mesh: MeshId, node: NodeId) -> NodeCert {
    NodeCert {
        mesh,
        node,
        operator: "bob".to_owned(),
        tier: Tier::Donor,
        platforms: Vec::new(),
        not_before: NOW,
        expires: NOW.after(LIFE),
    }
}

/// A new node's directory, and the mesh of `founder` that it could join.
fn newcomer(founder: &Key) -> (tempfile::TempDir, Home, Genesis) {
    let genesis = Genesis {
        founder: founder.node(),
        created: NOW,
        nonce: [2; 32],
    };
    let dir = directory();
    let home = Home::open(dir.path()).expect("new");
    (dir, home, genesis)
}

fn is_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("SKIPPED: a store needs root");
    }
    root
}

#[test]
fn a_new_node_founds_a_mesh_of_one_and_finds_it_again() {
    if !is_root() {
        return;
    }
    let dir = directory();
    let (node, mesh) = {
        let home = Home::open(dir.path()).expect("new");
        let membership = home.membership("ann", LIFE, NOW).expect("founded");
        let own = home.key.node();
        let cert = membership
            .roster
            .member(own, NOW)
            .expect("its own member")
            .clone();
        assert_eq!((cert.operator.as_str(), cert.tier), ("ann", Tier::Council));
        assert_eq!(membership.seats.len(), 1);
        assert_eq!(
            (
                membership.seats[0].role.as_str(),
                membership.seats[0].holder
            ),
            ("ci", own)
        );
        (own, membership.roster.mesh())
    };
    let home = Home::open(dir.path()).expect("there");
    let later = NOW.after(Duration::from_millis(30 * limits::CERT_LIFE_MS));
    let membership = home
        .membership("ann", LIFE, later)
        .expect("its certificate begins anew");
    assert_eq!((home.key.node(), membership.roster.mesh()), (node, mesh));
    assert!(membership.roster.member(node, later).is_some());
    let mode = fs::metadata(dir.path().join("identity"))
        .expect("there")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_damaged_or_public_key_is_refused() {
    if !is_root() {
        return;
    }
    let dir = directory();
    drop(Home::open(dir.path()).expect("new"));
    let path = dir.path().join("identity");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).expect("ours");
    assert!(matches!(
        Home::open(dir.path()),
        Err(HomeError::KeyIsPublic { .. })
    ));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("ours");
    fs::write(&path, b"short").expect("ours");
    assert!(matches!(Home::open(dir.path()), Err(HomeError::Key { .. })));
}

#[test]
fn a_node_joins_one_mesh_with_a_certificate_of_its_founder() {
    if !is_root() {
        return;
    }
    let founder = Key::from_secret(&[1; 32]);
    let (_dir, home, genesis) = newcomer(&founder);
    let cert = cert(genesis.mesh().expect("small"), home.key.node());
    let forged = Signed::sign(&home.key, &cert).expect("small");
    assert!(
        home.join(&genesis, &[forged], NOW).is_err(),
        "it certified itself"
    );
    assert!(
        home.join(&genesis, &[], NOW).is_err(),
        "it joined without a certificate"
    );
    assert!(
        !home.is_member().expect("readable"),
        "a refused join left something"
    );
    let good = Signed::sign(&founder, &cert).expect("small");
    home.join(&genesis, std::slice::from_ref(&good), NOW)
        .expect("signed by the founder");
    assert!(matches!(
        home.join(&genesis, &[good], NOW),
        Err(HomeError::Member { .. })
    ));
    let membership = home.membership("ignored", LIFE, NOW).expect("a member");
    assert_eq!(
        membership
            .roster
            .member(home.key.node(), NOW)
            .map(|cert| cert.tier),
        Some(Tier::Donor)
    );
    assert!(
        membership.seats.is_empty(),
        "it took a seat that nobody gave it"
    );
    let late = NOW.after(Duration::from_millis(limits::CERT_LIFE_MS));
    assert!(
        home.membership("ignored", LIFE, late).is_err(),
        "an expired member went on"
    );
}

/// A founder's directory and a member's, the member's certificate among the founder's records.
fn founder_and_member() -> (tempfile::TempDir, Home, Key) {
    let dir = directory();
    let home = Home::open(dir.path()).expect("new");
    let founded = home.membership("ann", LIFE, NOW).expect("founded");
    let member = Key::from_secret(&[9; 32]);
    let cert = cert(founded.roster.mesh(), member.node());
    let signed = Signed::sign(&home.key, &cert).expect("small");
    home.keep_cert(&cert, &signed).expect("kept");
    (dir, home, member)
}

fn revocation(home: &Home, node: NodeId, key: &Key) -> Signed<Revocation> {
    let mesh = home.membership("ann", LIFE, NOW).expect("a member");
    let said = Revocation {
        mesh: mesh.roster.mesh(),
        node,
        at: NOW,
    };
    Signed::sign(key, &said).expect("small")
}

#[test]
fn a_kept_revocation_outlives_restarts_and_certificates() {
    if !is_root() {
        return;
    }
    let (dir, home, member) = founder_and_member();
    let node = member.node();
    let before = home.membership("ann", LIFE, NOW).expect("a member");
    assert!(before.roster.vouches(node).is_some());
    let signed = revocation(&home, node, &home.key);
    home.save("revocation", &node.to_string(), &signed)
        .expect("kept");
    drop(home);
    let home = Home::open(dir.path()).expect("there");
    let after = home.membership("ann", LIFE, NOW).expect("a member");
    assert!(after.roster.is_revoked(node));
    assert!(
        after.roster.vouches(node).is_none(),
        "what it claimed still counts"
    );
    assert!(after.certs.is_empty(), "its certificate is handed on");
    assert_eq!(after.revocations, [signed], "others are not told of it");
}

#[test]
fn a_revocation_that_the_council_did_not_sign_stops_the_start() {
    if !is_root() {
        return;
    }
    let (_dir, home, member) = founder_and_member();
    let forged = revocation(&home, member.node(), &member);
    home.save("revocation", &member.node().to_string(), &forged)
        .expect("kept");
    // Nobody but the disk's owner could have written it; going on could mean to forget a real one.
    assert!(home.membership("ann", LIFE, NOW).is_err());
}

#[test]
fn what_an_older_version_struck_out_is_signed_by_the_founding_node() {
    if !is_root() {
        return;
    }
    let (_dir, home, member) = founder_and_member();
    let node = member.node();
    home.save("revoked", &node.to_string(), &NOW).expect("kept");
    let membership = home.membership("ann", LIFE, NOW).expect("a member");
    assert!(membership.roster.is_revoked(node));
    assert_eq!(membership.revocations.len(), 1);
    let again = home.membership("ann", LIFE, NOW).expect("a member");
    assert_eq!(again.revocations, membership.revocations);
}

/// A member's directory with a certificate that is valid from `NOW` on.
fn member() -> (tempfile::TempDir, Home, Key, Genesis) {
    let founder = Key::from_secret(&[1; 32]);
    let (dir, home, genesis) = newcomer(&founder);
    let cert = cert(genesis.mesh().expect("small"), home.key.node());
    let signed = Signed::sign(&founder, &cert).expect("small");
    home.join(&genesis, &[signed], NOW).expect("joined");
    (dir, home, founder, genesis)
}

#[test]
fn a_revoked_node_is_told_so_at_its_start_and_may_begin_anew() {
    if !is_root() {
        return;
    }
    let (dir, home, founder, genesis) = member();
    let node = home.key.node();
    let said = Revocation {
        mesh: genesis.mesh().expect("small"),
        node,
        at: NOW,
    };
    let signed = Signed::sign(&founder, &said).expect("small");
    home.save("revocation", &node.to_string(), &signed)
        .expect("kept");
    let error = home.membership("x", LIFE, NOW).expect_err("it is out");
    assert!(matches!(error, HomeError::Revoked { .. }), "{error}");
    assert!(error.to_string().contains("node leave"), "{error}");
    home.leave().expect("nothing in the way");
    drop(home);
    let home = Home::open(dir.path()).expect("there");
    assert!(!home.is_member().expect("readable"));
    assert_ne!(home.key.node(), node, "nobody takes that key again");
}

#[test]
fn who_leaves_keeps_key_and_store_and_may_join_again() {
    if !is_root() {
        return;
    }
    let (dir, home, founder, genesis) = member();
    let node = home.key.node();
    home.save("mesh", "incarnation", &7_u32).expect("kept");
    home.save("mode", "paused", &1_u32).expect("kept");
    home.save("base", "debian-12", &1_u32).expect("kept");
    home.leave().expect("nothing in the way");
    drop(home);
    let home = Home::open(dir.path()).expect("there");
    assert!(!home.is_member().expect("readable"));
    assert_eq!(home.key.node(), node);
    assert_eq!(home.load::<u32>("mode", "paused").expect("readable"), None);
    // Members of the same mesh remember what it said of itself.
    let made = home.load::<u32>("mesh", "incarnation").expect("readable");
    assert_eq!(made, Some(7));
    assert!(
        home.load::<u32>("base", "debian-12")
            .expect("readable")
            .is_some()
    );
    let cert = NodeCert {
        mesh: genesis.mesh().expect("small"),
        node,
        operator: "bob".to_owned(),
        tier: Tier::Donor,
        platforms: Vec::new(),
        not_before: NOW,
        expires: NOW.after(LIFE),
    };
    let signed = Signed::sign(&founder, &cert).expect("small");
    home.join(&genesis, &[signed], NOW).expect("again");
}

#[test]
fn a_certificate_out_of_its_time_is_told_with_the_clock_in_mind() {
    if !is_root() {
        return;
    }
    let (_dir, home, _, _) = member();
    let hours = |count: u64| Duration::from_secs(count * 3600);
    let early = Stamp::from_ms(NOW.as_ms() - 5 * 3_600_000);
    let error = home.membership("x", LIFE, early).expect_err("too early");
    assert!(matches!(error, HomeError::Early { .. }), "{error}");
    let told = error.to_string();
    assert!(
        told.contains("5 hours") && told.contains("set it"),
        "{told}"
    );
    let late = NOW.after(LIFE + hours(72));
    let error = home.membership("x", LIFE, late).expect_err("too late");
    assert!(matches!(error, HomeError::Ended { .. }), "{error}");
    let told = error.to_string();
    assert!(
        told.contains("3 days ago") && told.contains("clock"),
        "{told}"
    );
}

#[test]
fn a_mesh_of_one_is_founded_once() {
    if !is_root() {
        return;
    }
    let dir = directory();
    let home = Home::open(dir.path()).expect("new");
    let mesh = home.init("ann", NOW).expect("new");
    let membership = home.membership("ann", LIFE, NOW).expect("a member");
    assert_eq!(membership.roster.mesh(), mesh);
    assert!(matches!(
        home.init("ann", NOW),
        Err(HomeError::Member { .. })
    ));
}

#[test]
fn joining_and_starting_wait_for_the_disk_once_each() {
    if !is_root() {
        return;
    }
    let founder = Key::from_secret(&[1; 32]);
    let (dir, home, genesis) = newcomer(&founder);
    let mesh = genesis.mesh().expect("small");
    let others = [3, 4, 5].map(|seed| {
        let node = Key::from_secret(&[seed; 32]).node();
        let signed = Signed::sign(&founder, &cert(mesh, node)).expect("small");
        (node, signed, vec!["/ip4/192.0.2.1/tcp/1".to_owned()])
    });
    let contacts = || {
        let all = others.iter();
        all.map(|(node, cert, addresses)| (*node, cert, &addresses[..]))
    };
    let own = Signed::sign(&founder, &cert(mesh, home.key.node())).expect("small");
    let before = home.store.waits();
    home.keep_contacts(contacts()).expect("kept");
    home.join(&genesis, &[own], NOW).expect("joined");
    assert_eq!(home.store.waits(), before + 1, "all of it at once");
    drop(home);
    for incarnation in [32_u32, 64] {
        let home = Home::open(dir.path()).expect("there");
        let membership = home.membership("x", LIFE, NOW).expect("a member");
        assert_eq!(membership.certs.len(), 3);
        home.keep_contacts(contacts()).expect("kept");
        assert_eq!(home.store.waits(), 0, "nothing is new");
        home.save("mesh", "incarnation", &incarnation)
            .expect("kept");
        assert_eq!(home.store.waits(), 1);
    }
}

#[test]
fn a_founding_node_certifies_itself_anew_when_it_must_and_not_at_each_start() {
    if !is_root() {
        return;
    }
    let dir = directory();
    let home = Home::open(dir.path()).expect("new");
    let before = home.store.waits();
    home.init("ann", NOW).expect("new");
    assert_eq!(home.store.waits(), before + 1, "mesh, seat and certificate");
    drop(home);
    let home = Home::open(dir.path()).expect("there");
    let first = home.membership("ann", LIFE, NOW).expect("a member");
    assert_eq!((home.store.waits(), first.seats.len()), (0, 1));
    let renamed = home.membership("bob", LIFE, NOW).expect("a member");
    assert_ne!(renamed.cert, first.cert);
    let late = NOW.after(LIFE / 2);
    let later = home.membership("bob", LIFE, late).expect("a member");
    assert_ne!(later.cert, renamed.cert);
    // Away until it has none any more: its seat is still its own once it has certified itself.
    let after = NOW.after(LIFE * 4);
    let again = home.membership("bob", LIFE, after).expect("a member");
    assert_eq!(again.seats.len(), 1);
}
