use std::os::unix::fs::PermissionsExt;

use super::*;

const NOW: Stamp = Stamp::from_ms(1_000_000_000);

/// Stores keep setuid files, so nobody else may look in.
fn directory() -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("writable");
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o700)).expect("ours");
    dir
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
        let membership = home.membership("ann", NOW).expect("founded");
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
        .membership("ann", later)
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
    let genesis = Genesis {
        founder: founder.node(),
        created: NOW,
        nonce: [2; 32],
    };
    let dir = directory();
    let home = Home::open(dir.path()).expect("new");
    let cert = NodeCert {
        mesh: genesis.mesh().expect("small"),
        node: home.key.node(),
        operator: "bob".to_owned(),
        tier: Tier::Donor,
        platforms: Vec::new(),
        not_before: NOW,
        expires: NOW.after(Duration::from_millis(limits::CERT_LIFE_MS)),
    };
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
    let membership = home.membership("ignored", NOW).expect("a member");
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
        home.membership("ignored", late).is_err(),
        "an expired member went on"
    );
}
