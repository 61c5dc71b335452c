//! `caravan invite` and `caravan join`: how a machine becomes a member.

use std::{path::Path, process::ExitCode};

use caravan_node::{
    control::{Reply, Request},
    home::Home,
};
use caravan_protocol::{
    identity::{Tier, invite},
    platform::Platform,
    time::Stamp,
};

use super::{ask, block, unexpected};
use crate::{
    cli::{Invite, Join, TierArg},
    error::CliError,
};

pub(super) fn invite(data: &Path, flags: &Invite) -> Result<ExitCode, CliError> {
    let tier = match flags.tier {
        TierArg::Donor => Tier::Donor,
        TierArg::Trusted => Tier::Trusted,
    };
    let request = Request::Invite {
        operator: flags.operator.clone(),
        tier,
    };
    match block(ask(data, &request))? {
        Reply::Invite(token) => {
            say!("{token}");
            eprintln!(
                "one machine can join with it, within 24 hours: caravan join TOKEN, then caravan node run"
            );
            Ok(ExitCode::SUCCESS)
        }
        _ => Err(unexpected()),
    }
}

pub(super) fn join(data: &Path, flags: &Join) -> Result<ExitCode, CliError> {
    let invite: invite::Invite = flags
        .token
        .parse()
        .map_err(|error: invite::ParseInviteError| CliError::user(error.to_string()))?;
    let home = Home::open(data).map_err(|error| {
        CliError::node(&error)
            .hint("a running node must be stopped before it joins: caravan node stop")
    })?;
    if home.is_member().map_err(|error| CliError::node(&error))? {
        let text = format!(
            "join: the node in {} is a member of a mesh already",
            data.display()
        );
        return Err(CliError::user(text).hint("give another directory with --data"));
    }
    let joined = block(async {
        caravan_mesh::join(&invite, &home.key, &[Platform::here()])
            .await
            .map_err(|error| CliError::node(&error))
    })?;
    let mut certs = vec![joined.cert.clone()];
    certs.extend(joined.contacts.iter().map(|contact| contact.cert.clone()));
    let now = Stamp::from_ms(u64::try_from(jiff::Timestamp::now().as_millisecond()).unwrap_or(0));
    home.join(&invite.genesis, &certs, now)
        .map_err(|error| CliError::node(&error))?;
    for contact in &joined.contacts {
        let Ok(cert) = contact.cert.open(joined.roster.mesh()) else {
            continue;
        };
        home.save("addresses", &cert.node.to_string(), &contact.addresses)
            .map_err(|error| CliError::node(&error))?;
    }
    std::fs::write(data.join("joined"), format!("{}\n", joined.roster.mesh()))
        .map_err(|error| CliError::node(&error))?;
    say!(
        "joined mesh {} as node {}",
        joined.roster.mesh().fmt_short(),
        home.key.node().fmt_short()
    );
    say!(
        "start the node with: caravan node run --data {}",
        data.display()
    );
    Ok(ExitCode::SUCCESS)
}
