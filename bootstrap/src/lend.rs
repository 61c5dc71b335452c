//! What a machine lends to its mesh: taken from flags, asked for on a terminal, or defaulted, and put
//! into words for `config.toml`. Nothing is written here.

use std::io::{self, BufRead, Write};

use caravan_node::{
    config::{hours::Hours, machine},
    keeping::Amount,
};

use crate::{cli::Lend, error::CliError, show};

/// Wrong answers to one question before it is given up.
const TRIES_MAX: u32 = 5;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
/// Least memory and disk with which a node is of any use.
const MEMORY_MIN: u64 = GIB;
const DISK_MIN: u64 = 8 * GIB;

/// What there is to lend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Machine {
    cores: u32,
    memory: u64,
    disk_free: u64,
}

impl Machine {
    /// This one, with the disk that `data` is on.
    pub(crate) fn here(data: &std::path::Path) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self {
            cores: u32::try_from(cores).unwrap_or(1),
            memory: machine::memory_bytes(),
            disk_free: machine::disk_free_bytes(data),
        }
    }

    fn defaults(self) -> Lent {
        let whole = |bytes: u64| bytes / GIB * GIB;
        Lent {
            cores: if self.cores > 2 {
                self.cores - 1
            } else {
                self.cores
            },
            memory: whole(self.memory / 4 * 3).max(MEMORY_MIN),
            disk: whole(self.disk_free / 2).max(DISK_MIN),
            hours: None,
            egress: Egress::Default,
        }
    }

    fn cores(self, text: &str) -> Result<u32, String> {
        let cores = text.parse::<u32>().ok();
        let most = self.cores;
        cores.filter(|cores| (1..=most).contains(cores)).ok_or_else(|| {
            format!("lend {text:?} cores: this machine has {most}; want a whole number from 1 to {most}")
        })
    }

    fn memory(self, text: &str) -> Result<u64, String> {
        let bytes = amount(text, self.memory)?;
        if (MEMORY_MIN..=self.memory).contains(&bytes) {
            return Ok(bytes);
        }
        let (least, most) = (show::bytes(MEMORY_MIN), show::bytes(self.memory));
        Err(format!(
            "lend {text} of memory: want {least} to {most}, which this machine has"
        ))
    }

    fn disk(self, text: &str) -> Result<u64, String> {
        let bytes = amount(text, self.disk_free)?;
        if (DISK_MIN..=self.disk_free.max(DISK_MIN)).contains(&bytes) {
            return Ok(bytes);
        }
        let (least, most) = (show::bytes(DISK_MIN), show::bytes(self.disk_free));
        Err(format!(
            "lend {text} of disk: want {least} to {most}, which is free"
        ))
    }
}

fn amount(text: &str, whole: u64) -> Result<u64, String> {
    match text.parse::<Amount>() {
        Ok(Amount::Bytes(bytes)) => Ok(bytes),
        Ok(Amount::Percent(percent)) => {
            // To whole MiB, for people.
            let bytes = u128::from(whole) * u128::from(percent) / 100;
            Ok(u64::try_from(bytes).unwrap_or(whole) / MIB * MIB)
        }
        Err(error) => Err(error.to_string()),
    }
}

fn hours(text: &str) -> Result<Option<Hours>, String> {
    match text.trim() {
        "all" => Ok(None),
        text => text
            .parse()
            .map(Some)
            .map_err(|error: caravan_node::config::hours::HoursError| error.to_string()),
    }
}

/// What steps with a network may reach.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Egress {
    /// What every node allows.
    Default,
    /// Nothing.
    None,
    /// The default, and these.
    Hosts(Vec<String>),
}

impl std::str::FromStr for Egress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let allow = match text.trim() {
            "default" => return Ok(Self::Default),
            "none" => return Ok(Self::None),
            text => text
                .split(',')
                .map(|host| host.trim().to_owned())
                .collect::<Vec<_>>(),
        };
        let config = caravan_egress::Config {
            allow: allow.clone(),
            ..caravan_egress::Config::default()
        };
        match caravan_egress::Policy::new(&config, Vec::new(), []) {
            Ok(_) => Ok(Self::Hosts(allow)),
            Err(error) => Err(error.to_string()),
        }
    }
}

/// What a machine lends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Lent {
    cores: u32,
    memory: u64,
    disk: u64,
    hours: Option<Hours>,
    egress: Egress,
}

impl Lent {
    /// In one line for people.
    pub(crate) fn words(&self) -> String {
        let cores = if self.cores == 1 { "core" } else { "cores" };
        let hours = match &self.hours {
            Some(hours) => format!("in the hours {hours}"),
            None => "at all hours".to_owned(),
        };
        let egress = match &self.egress {
            Egress::Default => "the usual hosts".to_owned(),
            Egress::None => "no host".to_owned(),
            Egress::Hosts(hosts) => format!("the usual hosts and {}", hosts.join(", ")),
        };
        format!(
            "{} {cores}, {} of memory, {} of disk, {hours}; steps reach {egress}",
            self.cores,
            show::bytes(self.memory),
            show::bytes(self.disk),
        )
    }

    /// As it stands in `config.toml`.
    pub(crate) fn toml(&self) -> String {
        let (memory, disk) = (Amount::Bytes(self.memory), Amount::Bytes(self.disk));
        let mut text = format!(
            "[lend]\ncores = {}\nmemory = \"{memory}\"\ndisk = \"{disk}\"\n",
            self.cores
        );
        if let Some(hours) = &self.hours {
            text.push_str(&format!("hours = \"{hours}\"\n"));
        }
        match &self.egress {
            Egress::Default => {}
            Egress::None => text.push_str("\n[egress]\ndefaults = false\n"),
            Egress::Hosts(hosts) => {
                // They were read as rules: nothing in them needs an escape.
                let hosts: Vec<String> = hosts.iter().map(|host| format!("\"{host}\"")).collect();
                text.push_str(&format!("\n[egress]\nallow = [{}]\n", hosts.join(", ")));
            }
        }
        text
    }
}

/// What the flags say, what is answered on the terminal where there is one, and else the defaults.
pub(crate) fn settle(flags: &Lend, machine: Machine) -> Result<Lent, CliError> {
    let mut lent = given(flags, machine).map_err(|text| {
        CliError::user(text).hint("without a flag for it, it is asked for or has a sane default")
    })?;
    let terminal = std::io::IsTerminal::is_terminal(&io::stdin())
        && std::io::IsTerminal::is_terminal(&io::stderr());
    if terminal && !flags.yes {
        let mut questions = Questions {
            answers: io::stdin().lock(),
            shown: io::stderr(),
        };
        questions.ask(flags, machine, &mut lent)?;
    }
    Ok(lent)
}

/// The defaults with what the flags say.
fn given(flags: &Lend, machine: Machine) -> Result<Lent, String> {
    let mut lent = machine.defaults();
    if let Some(text) = &flags.cores {
        lent.cores = machine.cores(text)?;
    }
    if let Some(text) = &flags.memory {
        lent.memory = machine.memory(text)?;
    }
    if let Some(text) = &flags.disk {
        lent.disk = machine.disk(text)?;
    }
    if let Some(text) = &flags.hours {
        lent.hours = hours(text)?;
    }
    if let Some(text) = &flags.egress {
        lent.egress = text.parse()?;
    }
    Ok(lent)
}

/// Questions to a person.
struct Questions<A, S> {
    answers: A,
    shown: S,
}

impl<A: BufRead, S: Write> Questions<A, S> {
    /// Asks for what the flags leave open.
    fn ask(&mut self, flags: &Lend, machine: Machine, lent: &mut Lent) -> Result<(), CliError> {
        let open = [
            &flags.cores,
            &flags.memory,
            &flags.disk,
            &flags.hours,
            &flags.egress,
        ];
        if open.iter().all(|flag| flag.is_some()) {
            return Ok(());
        }
        let head = "How much of this machine may the mesh use? Enter takes what is in brackets.";
        let _ = writeln!(self.shown, "{head}");
        if flags.cores.is_none() {
            let what = format!("cores, of {}", machine.cores);
            let usual = lent.cores.to_string();
            lent.cores = self.one(&what, &usual, lent.cores, |text| machine.cores(text))?;
        }
        if flags.memory.is_none() {
            let what = format!("memory, of {}", show::bytes(machine.memory));
            let usual = Amount::Bytes(lent.memory).to_string();
            lent.memory = self.one(&what, &usual, lent.memory, |text| machine.memory(text))?;
        }
        if flags.disk.is_none() {
            let what = format!("disk, of {} that are free", show::bytes(machine.disk_free));
            let usual = Amount::Bytes(lent.disk).to_string();
            lent.disk = self.one(&what, &usual, lent.disk, |text| machine.disk(text))?;
        }
        if flags.hours.is_none() {
            let what = "hours of the day, such as 22:00-06:00";
            lent.hours = self.one(what, "all", None, hours)?;
        }
        if flags.egress.is_none() {
            let what = "hosts that steps may reach: default (mirrors, git hosts, registries), none, or names";
            lent.egress = self.one(what, "default", Egress::Default, str::parse)?;
        }
        Ok(())
    }

    fn one<T>(
        &mut self,
        what: &str,
        usual: &str,
        default: T,
        read: impl Fn(&str) -> Result<T, String>,
    ) -> Result<T, CliError> {
        let gone = || CliError::user(format!("read how much is lent: no answer for {what}"));
        for _ in 0..TRIES_MAX {
            let _ = write!(self.shown, "  {what} [{usual}]: ");
            let _ = self.shown.flush();
            let mut line = String::new();
            // A person's line; a whole file in its place is cut.
            let mut answer = io::Read::take(&mut self.answers, 1000);
            if answer.read_line(&mut line).map_err(|_| gone())? == 0 {
                return Err(gone().hint("--yes takes the defaults"));
            }
            match line.trim() {
                "" => return Ok(default),
                text => match read(text) {
                    Ok(value) => return Ok(value),
                    Err(why) => drop(writeln!(self.shown, "  cannot {why}")),
                },
            }
        }
        Err(gone().hint("--yes takes the defaults"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MACHINE: Machine = Machine {
        cores: 8,
        memory: 32 * GIB,
        disk_free: 401 * GIB,
    };

    fn asked(flags: &Lend, answers: &str) -> (Result<Lent, CliError>, String) {
        let mut lent = given(flags, MACHINE).expect("good flags");
        let mut questions = Questions {
            answers: answers.as_bytes(),
            shown: Vec::new(),
        };
        let done = questions.ask(flags, MACHINE, &mut lent);
        let shown = String::from_utf8(questions.shown).expect("text");
        (done.map(|()| lent), shown)
    }

    #[test]
    fn enter_takes_sane_defaults() {
        let (lent, shown) = asked(&Lend::default(), "\n\n\n\n\n");
        let lent = lent.expect("all is answered");
        assert_eq!(lent, MACHINE.defaults());
        assert_eq!(
            (lent.cores, lent.memory, lent.disk),
            (7, 24 * GIB, 200 * GIB)
        );
        assert!(shown.contains("cores, of 8 [7]: "), "{shown}");
        let small = Machine {
            cores: 2,
            memory: GIB / 2,
            disk_free: GIB,
        };
        let lent = small.defaults();
        assert_eq!(
            (lent.cores, lent.memory, lent.disk),
            (2, MEMORY_MIN, DISK_MIN)
        );
    }

    #[test]
    fn wrong_answers_are_asked_again_with_the_reason() {
        let answers = "0\n9\nmany\n3\n64GiB\n50%\n\n25:00-1:00\n22:00-06:00\nhttps://x\nnone\n";
        let (lent, shown) = asked(&Lend::default(), answers);
        let lent = lent.expect("all is answered");
        assert_eq!((lent.cores, lent.memory), (3, 16 * GIB));
        assert_eq!(lent.egress, Egress::None);
        for part in [
            "whole number from 1 to 8",
            "want 1.0 GiB to 32.0 GiB",
            "no such time",
            "https://x",
        ] {
            assert!(shown.contains(part), "{part}: {shown}");
        }
    }

    #[test]
    fn what_a_flag_says_is_not_asked() {
        let flags = Lend {
            cores: Some("2".to_owned()),
            hours: Some("all".to_owned()),
            ..Lend::default()
        };
        let (lent, shown) = asked(&flags, "\n\n\n");
        assert_eq!(lent.expect("the rest is answered").cores, 2);
        assert!(
            !shown.contains("cores") && !shown.contains("hours"),
            "{shown}"
        );
    }

    #[test]
    fn nobody_there_is_an_error_that_names_the_way_out() {
        let (lent, _) = asked(&Lend::default(), "\n");
        let said = format!("{:?}", lent.expect_err("the answers end"));
        assert!(said.contains("memory") && said.contains("--yes"), "{said}");
        let (lent, _) = asked(&Lend::default(), &"x\n".repeat(20));
        assert!(lent.is_err(), "it asks for ever");
    }

    #[test]
    fn what_is_written_is_read_back() {
        let mut lent = MACHINE.defaults();
        lent.hours = "22:00-06:00".parse().ok();
        for egress in ["default", "none", "*.example.org, git.example.com"] {
            lent.egress = egress.parse().expect("good rules");
            let text = lent.toml();
            let config =
                crate::config::parse_text("/nowhere".into(), &text).expect("our own words");
            assert_eq!((config.slots, config.hours.is_some()), (7, true));
            assert_eq!(config.egress.defaults, egress != "none");
        }
        assert!(
            lent.words().contains("7 cores, 24.0 GiB of memory"),
            "{}",
            lent.words()
        );
    }
}
