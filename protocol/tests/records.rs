//! What is true of every signed record: a domain of its own, the mesh inside of what is signed, and
//! a word on when it ends; and that no other bytes pass for it.

use std::{collections::BTreeSet, fs, path::Path};

use caravan_protocol::{
    claim::{Claim, Environment, Verdict},
    codec,
    facts::Facts,
    identity::{
        Ends, Key, NodeCert, Record, Refused, Seat, Signed, Tier, cordon::Cordon,
        revocation::Revocation,
    },
    ids::{ActionKey, MeshId, TreeId},
    limits,
    member::{Alert, Incarnation, Mode, Presence},
    offer::Priority,
    policy::Params,
    role::{Charge, Subject, run_id},
    time::Stamp,
};

const MAX: usize = 64 * 1024;

fn mesh() -> MeshId {
    MeshId::from_bytes([9; 32])
}

/// What a record is asked.
struct Facet {
    type_name: &'static str,
    domain: &'static str,
    ends: Ends,
    signed: Vec<u8>,
    /// Whether bytes are taken for a record of this kind, in this mesh.
    opens: fn(&[u8], MeshId) -> Result<(), Refused>,
    /// The same at a moment.
    opens_at: fn(&[u8], Stamp) -> Result<(), Refused>,
}

fn facet<T: Record>(type_name: &'static str, record: &T) -> Facet {
    assert_eq!(record.mesh(), mesh());
    let signed = Signed::sign(&Key::from_secret(&[1; 32]), record).expect("small");
    Facet {
        type_name,
        domain: T::DOMAIN,
        ends: record.ends(),
        signed: codec::encode::<MAX>(&signed).expect("small"),
        opens: |bytes, mesh| {
            let signed: Signed<T> = codec::decode::<MAX, _>(bytes)?;
            signed.open(mesh).map(drop)
        },
        opens_at: |bytes, now| {
            let signed: Signed<T> = codec::decode::<MAX, _>(bytes)?;
            signed.open_at(mesh(), now).map(drop)
        },
    }
}

fn charge(mesh: MeshId, at: Stamp) -> Charge {
    let requester = Key::from_secret(&[1; 32]).node();
    Charge {
        mesh,
        run: run_id(requester, "ci", "p", at),
        role: "ci".to_owned(),
        project: "p".to_owned(),
        subject: Subject {
            branch: String::new(),
            commit: "0".repeat(40),
            title: String::new(),
            notes: Vec::new(),
            tree: TreeId::from_bytes([1; 32]),
        },
        repositories: Vec::new(),
        bases: Vec::new(),
        params: Params::default(),
        again: false,
        on: None,
        not_on: BTreeSet::new(),
        requester,
        priority: Priority::Normal,
        issued: at,
        expires: Stamp::from_ms(5),
    }
}

fn all() -> Vec<Facet> {
    let node = Key::from_secret(&[2; 32]).node();
    let (mesh, at) = (mesh(), Stamp::from_ms(3));
    let incarnation = Incarnation::new(4);
    let cert = NodeCert {
        mesh,
        node,
        operator: "alice".to_owned(),
        tier: Tier::Donor,
        platforms: Vec::new(),
        not_before: at,
        expires: Stamp::from_ms(5),
    };
    let claim = Claim {
        mesh,
        action: ActionKey::from_bytes([1; 32]),
        verdict: Verdict::Pass,
        output: None,
        outputs: Default::default(),
        log: None,
        started: at,
        wall_ms: 1,
        cpu_ms: 1,
        environment: Environment::default(),
    };
    let presence = Presence {
        mesh,
        node,
        incarnation,
        addresses: Vec::new(),
        facts: Facts::default(),
        mode: Mode::Open,
        issued: at,
    };
    let alert = Alert {
        mesh,
        subject: node,
        incarnation,
        observer: Key::from_secret(&[1; 32]).node(),
        at,
    };
    let seat = Seat {
        mesh,
        role: "ci".to_owned(),
        holder: node,
        epoch: 1,
        since: at,
    };
    let cordon = Cordon {
        mesh,
        node,
        on: true,
        why: String::new(),
        at,
    };
    vec![
        facet("Charge", &charge(mesh, at)),
        facet("NodeCert", &cert),
        facet("Claim", &claim),
        facet("Presence", &presence),
        facet("Alert", &alert),
        facet("Seat", &seat),
        facet("Cordon", &cordon),
        facet("Revocation", &Revocation { mesh, node, at }),
    ]
}

#[test]
fn every_record_has_a_domain_of_its_own_with_a_version() {
    let mut domains = BTreeSet::new();
    for record in all() {
        let name = record.domain;
        assert!(domains.insert(name), "{name} is the domain of two records");
        let (kind, version) = name.rsplit_once('/').expect("a version");
        assert!(kind.starts_with("caravan/"), "{name}");
        assert!(
            version.parse::<u32>().is_ok(),
            "{name} ends with no version"
        );
        // The byte behind the domain is zero: no domain can be the beginning of another.
        assert!(!name.contains('\0'), "{name:?}");
    }
}

#[test]
fn no_record_passes_for_one_of_another_kind_or_mesh() {
    let all = all();
    for record in &all {
        assert_eq!((record.opens)(&record.signed, mesh()), Ok(()));
        let elsewhere = (record.opens)(&record.signed, MeshId::from_bytes([8; 32]));
        assert!(
            matches!(elsewhere, Err(Refused::OtherMesh { .. })),
            "{}: {elsewhere:?}",
            record.type_name
        );
        for other in all.iter().filter(|other| other.domain != record.domain) {
            let taken = (other.opens)(&record.signed, mesh());
            assert!(
                matches!(taken, Err(Refused::Forged { .. })),
                "a {} passes for a {}: {taken:?}",
                record.type_name,
                other.type_name
            );
        }
    }
}

#[test]
fn a_record_with_any_bit_changed_is_refused() {
    for record in all() {
        for at in 0..record.signed.len() {
            let mut changed = record.signed.clone();
            changed[at] ^= 1 << (at % 8);
            assert!(
                (record.opens)(&changed, mesh()).is_err(),
                "{}: the bit {} of byte {at} makes no difference",
                record.type_name,
                at % 8
            );
        }
    }
}

#[test]
fn what_is_signed_says_when_it_ends_and_is_refused_from_then_on() {
    let node = Key::from_secret(&[2; 32]).node();
    let at = Stamp::from_ms(3);
    for record in all() {
        let expected = match record.type_name {
            "NodeCert" | "Charge" => Ends::At(Stamp::from_ms(5)),
            "Presence" | "Alert" => Ends::after(at, limits::WORD_LIFE_MS),
            "Revocation" => Ends::after(at, limits::REVOCATION_LIFE_MS),
            "Cordon" => Ends::after(at, limits::CORDON_LIFE_MS),
            "Seat" => Ends::WithMember(node),
            _ => Ends::Never,
        };
        assert_eq!(record.ends, expected, "{}", record.type_name);
        let name = record.type_name;
        let Ends::At(end) = record.ends else {
            let ever = (record.opens_at)(&record.signed, Stamp::from_ms(u64::MAX));
            assert_eq!(ever, Ok(()), "{name} does not end by the clock");
            continue;
        };
        let before = (record.opens_at)(&record.signed, Stamp::from_ms(end.as_ms() - 1));
        assert_eq!(before, Ok(()), "{name}");
        for late in [end, Stamp::from_ms(u64::MAX)] {
            let refused = (record.opens_at)(&record.signed, late);
            assert!(
                matches!(refused, Err(Refused::Expired { .. })),
                "{name} is replayed: {refused:?}"
            );
        }
    }
}

/// A kind of record that is added is added here, too.
#[test]
fn no_record_is_left_out() {
    fn scan(dir: &Path, found: &mut BTreeSet<String>) {
        for entry in fs::read_dir(dir).expect("the sources") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                scan(&path, found);
                continue;
            }
            let text = fs::read_to_string(&path).expect("text");
            for (at, _) in text.match_indices("impl Record for ") {
                let rest = &text[at + "impl Record for ".len()..];
                let name = rest.split([' ', '<']).next().expect("a name");
                found.insert(name.to_owned());
            }
        }
    }
    let mut found = BTreeSet::new();
    scan(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("src"),
        &mut found,
    );
    let known: BTreeSet<String> = all()
        .iter()
        .map(|record| record.type_name.to_owned())
        .collect();
    assert_eq!(found, known);
}
