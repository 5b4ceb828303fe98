//! Where a data plane's logs go, as the command line says it.

use breakwater_dataplane::{LogOptions, LogTarget};
use clap::Args;

use crate::exit::Failure;
use crate::size::Size;

/// The least size of a file that is set aside, bytes: a file takes a batch of lines at the least.
const LEAST_SIZE: u64 = 1 << 20;

/// Where logs go.
#[derive(Args, Debug)]
pub(crate) struct LogArgs {
    /// Where the audit log goes, one JSON line for each event: a file, `stdout` or `stderr`; may be given several times
    /// [default: stderr]
    #[arg(long, value_name = "FILE")]
    audit_log: Vec<LogTarget>,
    /// Size at which a file of the audit log is set aside as FILE.1; 0: never
    #[arg(long, value_name = "SIZE", default_value = "100Mi", value_parser = file_size)]
    audit_log_max_size: Size,
    /// Files of the audit log that are kept of those that were set aside
    #[arg(long, value_name = "N", default_value_t = LogOptions::KEEP, value_parser = clap::value_parser!(u32).range(..=1000))]
    audit_log_keep: u32,
    /// Where the access log goes, one JSON line for each request: a file, `stdout` or `stderr`; may be given several times
    /// [default: off]
    #[arg(long, value_name = "FILE")]
    access_log: Vec<LogTarget>,
    /// Size at which a file of the access log is set aside as FILE.1; 0: never
    #[arg(long, value_name = "SIZE", default_value = "100Mi", value_parser = file_size)]
    access_log_max_size: Size,
    /// Files of the access log that are kept of those that were set aside
    #[arg(long, value_name = "N", default_value_t = LogOptions::KEEP, value_parser = clap::value_parser!(u32).range(..=1000))]
    access_log_keep: u32,
}

impl LogArgs {
    /// The audit log, which there always is, and the access log.
    pub(super) fn options(self) -> Result<(LogOptions, LogOptions), Failure> {
        let options = |flag: &str, to: Vec<LogTarget>, max_size: Size, keep| {
            let twice = to
                .iter()
                .enumerate()
                .find(|(i, target)| to.iter().take(*i).any(|t| t == *target));
            match twice {
                Some((_, target)) => Err(Failure::environment(
                    format!("{flag} names {target} twice"),
                    "each line would be there twice: leave one out",
                )),
                None => Ok(LogOptions {
                    to,
                    max_size: max_size.bytes(),
                    keep,
                }),
            }
        };
        let mut audit = options(
            "--audit-log",
            self.audit_log,
            self.audit_log_max_size,
            self.audit_log_keep,
        )?;
        if audit.to.is_empty() {
            audit.to.push(LogTarget::Stderr);
        }
        let access = options(
            "--access-log",
            self.access_log,
            self.access_log_max_size,
            self.access_log_keep,
        )?;
        Ok((audit, access))
    }
}

fn file_size(text: &str) -> Result<Size, String> {
    let size: Size = text.parse()?;
    match size.bytes() {
        1..LEAST_SIZE => Err("a file this small would be set aside all the time: give it 1Mi or more, or 0".to_owned()),
        _ => Ok(size),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Command {
        #[command(flatten)]
        logs: LogArgs,
    }

    fn read(line: &str) -> Result<(LogOptions, LogOptions), String> {
        let words = std::iter::once("x").chain(line.split_whitespace());
        let command = Command::try_parse_from(words).map_err(|error| error.to_string())?;
        command.logs.options().map_err(|failure| format!("{failure:?}"))
    }

    #[test]
    fn by_default_the_audit_log_is_on_and_the_access_log_off() {
        let (audit, access) = read("").unwrap();
        assert_eq!(audit, LogOptions::new(vec![LogTarget::Stderr]));
        assert_eq!(access, LogOptions::new(Vec::new()));
    }

    #[test]
    fn a_log_may_go_to_several_places_each_once() {
        let (audit, access) = read(
            "--audit-log stdout --audit-log a.log --audit-log-max-size 0 --audit-log-keep 0 --access-log - --access-log-max-size 1Mi",
        )
        .unwrap();
        let file = LogTarget::File("a.log".into());
        assert_eq!(audit.to, [LogTarget::Stdout, file]);
        assert_eq!((audit.max_size, audit.keep), (0, 0));
        assert_eq!((access.to, access.max_size), (vec![LogTarget::Stderr], 1 << 20));
        for twice in ["--audit-log a --audit-log a", "--access-log - --access-log stderr"] {
            assert!(read(twice).unwrap_err().contains("twice"), "{twice}");
        }
        assert!(read("--audit-log-max-size 1Ki").is_err());
    }
}
