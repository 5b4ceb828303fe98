//! What a rule that matched does to the transaction, and with which status.
//!
//! Invariant: `deny` and `drop` have a status from 400 to 599, `redirect` one of those that say where to go, whatever
//! default actions and updates of a rule's actions came to.

use crate::engine::location;
use crate::seclang::{Action, Disruptive, Located, Position};

/// What a refusal has where no status is written.
const REFUSED: u16 = 403;
/// What a redirect has where no status is written.
const FOUND: u16 = 302;

/// The actions of a rule, or the default actions of a phase, that decide.
#[derive(Debug, Default)]
pub(super) struct Decision<'a> {
    kind: Option<&'a Located<Action>>,
    status: Option<(u16, &'a Position)>,
}

impl<'a> Decision<'a> {
    /// Of a list of actions.
    pub(super) fn of(actions: &'a [Located<Action>]) -> Self {
        let mut this = Self::default();
        for action in actions {
            match &action.value {
                Action::Disruptive(_) => this.kind = Some(action),
                Action::Status(status) => this.status = Some((*status, &action.position)),
                _ => {}
            }
        }
        this
    }

    pub(super) fn kind(&self) -> Option<&'a Disruptive> {
        match &self.kind?.value {
            Action::Disruptive(kind) => Some(kind),
            _ => None,
        }
    }

    /// What is done, by default actions where the rule leaves it to them: a rule that says nothing does what the default
    /// action of its phase says, as `block` does.
    pub(super) fn resolved(&self, defaults: &Self) -> &'a Disruptive {
        match self.kind() {
            None | Some(Disruptive::Block) => defaults.kind().unwrap_or(&Disruptive::Pass),
            Some(kind) => kind,
        }
    }

    /// Whether `block` leaves it to default actions that pass.
    pub(super) fn leaves_it_to(&self, defaults: &Self) -> bool {
        let passes = matches!(defaults.kind(), None | Some(Disruptive::Pass | Disruptive::Block));
        matches!(self.kind(), Some(Disruptive::Block)) && passes
    }

    /// The status. A default status that does not go with what is done is not for this rule.
    pub(super) fn status(&self, defaults: &Decision<'_>, kind: &Disruptive) -> u16 {
        let own = self.status.map(|(status, _)| status);
        let fits = |status: &u16| suits(kind, *status);
        let default = defaults.status.map(|(status, _)| status).filter(fits);
        own.filter(fits).or(default).unwrap_or(match kind {
            Disruptive::Redirect(_) => FOUND,
            _ => REFUSED,
        })
    }

    /// What is wrong with it, where `kind` is done.
    pub(super) fn mistakes(&self, kind: &Disruptive) -> impl Iterator<Item = (&'a Position, String)> {
        let status = self.status.filter(|(status, _)| !suits(kind, *status));
        let status = status.map(|(status, position)| (position, unsuited(kind, status)));
        let to = self.kind.and_then(|action| match &action.value {
            Action::Disruptive(Disruptive::Redirect(to)) => Some((&action.position, location::mistake(to)?)),
            _ => None,
        });
        status.into_iter().chain(to)
    }

    /// A status beside an action that answers nothing.
    pub(super) fn idle_status(&self) -> Option<(&'a Position, String)> {
        let (status, position) = self.status?;
        let name = match self.kind()? {
            Disruptive::Pass => "pass",
            Disruptive::Allow(_) => "allow",
            _ => return None,
        };
        Some((
            position,
            format!("status:{status} has no effect beside {name}, which answers nothing: write deny, or remove it"),
        ))
    }
}

/// Whether an answer with this status does what is asked.
fn suits(kind: &Disruptive, status: u16) -> bool {
    match kind {
        Disruptive::Deny | Disruptive::Drop => (400..=599).contains(&status),
        Disruptive::Redirect(_) => matches!(status, 301 | 302 | 303 | 307 | 308),
        Disruptive::Pass | Disruptive::Allow(_) | Disruptive::Block => true,
    }
}

fn unsuited(kind: &Disruptive, status: u16) -> String {
    match (kind, status) {
        (Disruptive::Redirect(_), _) => {
            format!("status:{status} does not redirect: write 301, 302, 303, 307 or 308, or leave it out for 302")
        }
        (_, 300..=399) => {
            format!(
                "status:{status} sends nobody anywhere without redirect: write redirect:URL, or a status from 400 to 599"
            )
        }
        _ => format!("status:{status} refuses nothing: write a status from 400 to 599, or leave it out for 403"),
    }
}
