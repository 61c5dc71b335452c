//! How machines become members: invites, joining, and what a machine lends.

use clap::{Args, ValueEnum};

use super::Output;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum TierArg {
    /// Builds and caches
    Donor,
    /// Also confirms what others claim
    Trusted,
}

#[derive(Debug, Args)]
pub(crate) struct Invite {
    /// Who will run the new node
    #[arg(long, value_name = "NAME", required_unless_present_any = ["list", "withdraw"])]
    pub(crate) operator: Option<String>,
    /// What the new node may do
    #[arg(long, value_enum, default_value = "donor")]
    pub(crate) tier: TierArg,
    /// For how long the token is good, such as 30m or 2h; at most 24h
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = life)]
    pub(crate) expires: u64,
    /// Multiaddress at which the new node finds this one, where it has others than it knows of, such
    /// as /ip4/198.51.100.7/tcp/4100; may be given again
    #[arg(long, value_name = "MULTIADDR")]
    pub(crate) address: Vec<String>,
    /// List the invites that were made
    #[arg(long, conflicts_with_all = ["operator", "withdraw", "address"])]
    pub(crate) list: bool,
    /// Take an invite back: the first digits of its id, or the token
    #[arg(long, value_name = "INVITE", conflicts_with_all = ["operator", "address"])]
    pub(crate) withdraw: Option<String>,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Debug, Args)]
pub(crate) struct Join {
    /// What `caravan invite` printed
    pub(crate) token: String,
    #[command(flatten)]
    pub(crate) lend: Lend,
    #[command(flatten)]
    pub(crate) service: Service,
}

/// What a machine lends to its mesh. Asked for on a terminal.
#[derive(Debug, Args, Default)]
pub(crate) struct Lend {
    /// Cores in all [default: one less than there are, where there are more than two]
    #[arg(long, value_name = "N")]
    pub(crate) cores: Option<String>,
    /// Memory in all, such as 12GiB or 50% [default: three quarters]
    #[arg(long, value_name = "SIZE")]
    pub(crate) memory: Option<String>,
    /// Disk in all, such as 100GiB or 50% of what is free [default: half of what is free]
    #[arg(long, value_name = "SIZE")]
    pub(crate) disk: Option<String>,
    /// Hours of the day in which to take work, such as 22:00-06:00 [default: all]
    #[arg(long, value_name = "HOURS")]
    pub(crate) hours: Option<String>,
    /// What steps with a network may reach: `default` (package mirrors, git hosts, registries), `none`,
    /// or hosts with commas between, besides the default ones
    #[arg(long, value_name = "WHAT")]
    pub(crate) egress: Option<String>,
    /// Do not ask; take the defaults for what is not given
    #[arg(short, long)]
    pub(crate) yes: bool,
}

impl Lend {
    /// Whether anything is said at all.
    pub(crate) fn is_explicit(&self) -> bool {
        let said = [
            &self.cores,
            &self.memory,
            &self.disk,
            &self.hours,
            &self.egress,
        ];
        said.iter().any(|text| text.is_some())
    }
}

#[derive(Debug, Args, Default)]
pub(crate) struct Service {
    /// Let systemd run the node from now on; with `=print`, only print the unit
    #[arg(long, value_enum, num_args = 0..=1, require_equals = true, value_name = "WHAT",
          default_missing_value = "install")]
    pub(crate) service: Option<ServiceArg>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ServiceArg {
    /// Write the unit, enable and start it
    Install,
    /// Print the unit, and change nothing of this system
    Print,
}

/// Milliseconds of `90s`, `30m`, `2h`, `1d`.
fn life(text: &str) -> Result<u64, String> {
    let wrong = || "want a time such as 30m or 2h, at most 24h".to_owned();
    let unit = text.chars().last().ok_or_else(wrong)?;
    let factor = match unit {
        's' => 1000,
        'm' => 60_000,
        'h' => 3_600_000,
        'd' => 24 * 3_600_000,
        _ => return Err(wrong()),
    };
    let number = text.strip_suffix(unit).unwrap_or_default();
    if !number.bytes().all(|c| c.is_ascii_digit()) {
        return Err(wrong());
    }
    let life = number
        .parse::<u64>()
        .ok()
        .and_then(|n| n.checked_mul(factor));
    life.filter(|life| (60_000..=24 * 3_600_000).contains(life))
        .ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lives_of_invites_are_a_minute_to_a_day() {
        assert_eq!([life("2h"), life("90s")], [Ok(7_200_000), Ok(90_000)]);
        assert_eq!(life("1d"), Ok(24 * 3_600_000));
        for bad in [
            "",
            "h",
            "25h",
            "59s",
            "-1h",
            "2",
            "2.5h",
            "2w",
            "99999999999999999999h",
            "2é",
        ] {
            assert!(life(bad).is_err(), "{bad} was taken");
        }
    }
}
