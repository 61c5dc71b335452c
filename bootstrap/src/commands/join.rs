//! `caravan invite` and `caravan join`: how a machine becomes a member.
//!
//! Joining may be cut off anywhere and done again: the key comes first and stays, the inviting node
//! knows the key that has used an invite and answers it again, and what is written appears whole or
//! not at all.

use std::{path::Path, process::ExitCode, time::Duration};

use caravan_mesh::{JoinError, Joined};
use caravan_node::{
    control::{Reply, Request},
    home::{Home, HomeError},
    invites::{InviteAsk, InviteView},
};
use caravan_protocol::{
    identity::{
        Genesis, Tier,
        invite::{self, ParseInviteError},
    },
    limits::CERT_LIFE_MS,
    platform::Platform,
};

use super::{ask, block, now, print_json, setup, unexpected};
use crate::{
    cli::{Invite, Join, TierArg},
    error::CliError,
    rootless, show,
};

/// How long the inviting node is tried for, and how often.
const WAIT_MAX: Duration = Duration::from_secs(60);
const WAIT: Duration = Duration::from_secs(3);

pub(super) fn invite(data: &Path, flags: &Invite) -> Result<ExitCode, CliError> {
    if flags.list {
        return list(data, flags.output.json);
    }
    if let Some(what) = &flags.withdraw {
        block(ask(data, &Request::Withdraw(what.clone())))?;
        say!("withdrew the invite; it admits nobody any more");
        return Ok(ExitCode::SUCCESS);
    }
    let request = InviteAsk {
        operator: flags.operator.clone().unwrap_or_default(),
        tier: match flags.tier {
            TierArg::Donor => Tier::Donor,
            TierArg::Trusted => Tier::Trusted,
        },
        life_ms: flags.expires,
        addresses: flags.address.clone(),
    };
    let Reply::Invite(token) = block(ask(data, &Request::Invite(request)))? else {
        return Err(unexpected());
    };
    if flags.output.json {
        return print_json(&serde_json::json!({ "token": token, "life_ms": flags.expires }));
    }
    say!("{token}");
    eprintln!(
        "one machine joins with it, within {}: caravan join TOKEN",
        life(flags.expires)
    );
    Ok(ExitCode::SUCCESS)
}

/// `24 h`, `90 min`.
fn life(ms: u64) -> String {
    match ms / 60_000 {
        minutes if minutes % 60 == 0 => format!("{} h", minutes / 60),
        minutes => format!("{minutes} min"),
    }
}

fn list(data: &Path, json: bool) -> Result<ExitCode, CliError> {
    let Reply::Invites(invites) = block(ask(data, &Request::Invites))? else {
        return Err(unexpected());
    };
    if json {
        return print_json(&invites);
    }
    let now = now();
    let row = |invite: &InviteView| {
        let state = match (invite.used_by, invite.expires) {
            (Some(node), _) => format!("used by {}", node.fmt_short()),
            (None, Some(expires)) if now >= expires => "expired".to_owned(),
            (None, expires) => {
                format!("until {} UTC", expires.map(show::date).unwrap_or_default())
            }
        };
        vec![
            invite.id.chars().take(10).collect(),
            invite.operator.clone(),
            invite.tier.map(|tier| tier.to_string()).unwrap_or_default(),
            state,
        ]
    };
    let rows: Vec<_> = invites.iter().map(row).collect();
    if rows.is_empty() {
        say!("no invites");
    } else {
        show::table(&["INVITE", "OPERATOR", "TIER", ""], &rows);
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) fn join(data: &Path, flags: &Join) -> Result<ExitCode, CliError> {
    let parsed = flags.token.parse::<invite::Invite>();
    let invite = parsed.map_err(|error: ParseInviteError| CliError::user(error.to_string()))?;
    setup::is_possible(data, &flags.service)?;
    if rootless::is_outside() {
        // Here only if there is something to do outside, too.
        if let Some(failed) = rootless::inner_part()? {
            return Ok(failed);
        }
        return setup::serve(data, &flags.service);
    }
    let wanted = setup::Wanted::of(data, &flags.lend, false)?;
    let home = setup::open(data)?;
    match member_of(&home, &invite)? {
        Some(genesis) if is_current(&home) => say!(
            "this machine is a member of mesh {} already, as node {}",
            genesis
                .mesh()
                .map(|mesh| mesh.fmt_short())
                .unwrap_or_default(),
            home.key.node().fmt_short()
        ),
        // One that was away for too long is let in again.
        known => admitted(&home, &invite, known.is_some())?,
    }
    // Told to the next start: this node is to be reached.
    let trouble = |error: std::io::Error| CliError::node(&error);
    std::fs::write(data.join("joined"), "").map_err(trouble)?;
    wanted.write(data, "")?;
    drop(home);
    setup::serve(data, &flags.service)
}

/// The mesh that the node is in already, if it is the invite's; an error if it is another.
fn member_of(home: &Home, invite: &invite::Invite) -> Result<Option<Genesis>, CliError> {
    let Some(genesis) = setup::genesis(home)? else {
        return Ok(None);
    };
    if invite.founder.is(home.key.node()) {
        let text = "join: this machine's own node made the invite; it is for another machine";
        return Err(CliError::user(text));
    }
    if invite.founder.is(genesis.founder) {
        return Ok(Some(genesis));
    }
    let data = home.data.display();
    let is_own = genesis.founder == home.key.node();
    let text = if is_own {
        format!("join: the node in {data} has founded a mesh of its own")
    } else {
        format!("join: the node in {data} is a member of another mesh")
    };
    Err(CliError::user(text)
        .hint(
            "`caravan node leave --keep-store` ends that and keeps what was built; then join again",
        )
        .hint("or give another directory with --data"))
}

/// Whether the member's certificate is good, and its mesh takes it for a member.
fn is_current(home: &Home) -> bool {
    // What a founder signs for itself; this node is none.
    let life = Duration::from_millis(CERT_LIFE_MS);
    home.membership("", life, now()).is_ok()
}

/// Shows the invite and keeps what it is answered with.
fn admitted(home: &Home, invite: &invite::Invite, again: bool) -> Result<(), CliError> {
    let joined = block(answered(home, invite))?;
    let mut certs = vec![joined.cert.clone()];
    certs.extend(joined.contacts.iter().map(|contact| contact.cert.clone()));
    let node = |error: HomeError| CliError::node(&error);
    // On disk with the membership, which says that all is there.
    let contacts = joined.contacts.iter().filter_map(|contact| {
        let cert = contact.cert.open(joined.roster.mesh()).ok()?;
        Some((cert.node, &contact.cert, &contact.addresses[..]))
    });
    home.keep_contacts(contacts).map_err(node)?;
    if again {
        for signed in &certs {
            if let Ok(cert) = signed.open(joined.roster.mesh()) {
                home.keep_cert(&cert, signed).map_err(node)?;
            }
        }
    } else {
        home.join(joined.roster.genesis(), &certs, now())
            .map_err(node)?;
    }
    let own = joined.roster.member(home.key.node(), now());
    let (operator, tier) = own
        .map(|cert| (cert.operator.clone(), cert.tier.to_string()))
        .unwrap_or_default();
    say!(
        "joined mesh {} as node {}, operator {operator}, {tier}",
        joined.roster.mesh().fmt_short(),
        home.key.node().fmt_short()
    );
    Ok(())
}

/// The inviting node's answer. A network or a node that is not there yet is waited for.
async fn answered(home: &Home, invite: &invite::Invite) -> Result<Joined, CliError> {
    let begun = tokio::time::Instant::now();
    let mut told = false;
    loop {
        let error = match caravan_mesh::join(invite, &home.key, &[Platform::here()]).await {
            Ok(joined) => return Ok(joined),
            Err(error) => error,
        };
        let may_come = matches!(error, JoinError::NoAnswer { .. } | JoinError::Lost { .. });
        if !may_come || begun.elapsed() + WAIT > WAIT_MAX {
            return Err(failed(&error));
        }
        if !told {
            eprintln!(
                "waiting for the inviting node, up to {} s ({error}); Ctrl-C gives up",
                WAIT_MAX.as_secs()
            );
            told = true;
        }
        tokio::time::sleep(WAIT).await;
    }
}

fn failed(error: &JoinError) -> CliError {
    let told = CliError::node(error);
    match error {
        JoinError::NoAnswer { .. } => told
            .hint("the inviting node must run and be reachable: TCP and UDP through its firewall")
            .hint("an address of it that is not in the invite: caravan invite --address MULTIADDR"),
        JoinError::Refused(_) => told.hint("caravan invite, on the founding node, makes a new one"),
        _ => told,
    }
}
