//! Rules about a request as a whole: `chatty_request` (very many statements, or a transaction that mostly waits for the
//! client) and `idle_in_transaction` (one long wait inside a transaction).
//!
//! Background jobs may talk as much as they like: nobody waits for them. Their transactions block others all the same.

use pgtally_fingerprint::{Fingerprint, Kind};

use super::case::{Case, Member, Written};
use super::draft::Draft;
use crate::finding::{Confidence, FindingKind, Severity, Times};
use crate::fix;
use crate::record::Pause;
use crate::settings::TimeSettings;

pub(super) fn find_chatty(case: &Case<'_>) -> Option<Draft> {
    let settings = case.settings;
    let request = case.request;
    if request.is_background() {
        return None;
    }
    let talks = case.members.iter().filter(|member| is_talk(case, member)).count();
    let queries = request.statements_dropped().saturating_add(talks as u64);
    let times = times(case);
    let is_many = queries >= u64::from(settings.chatty_statements_min);
    let waiting_ns = waiting_ns(case);
    let waits = settings.times.as_ref().is_some_and(|limits| is_waiting(case, limits, waiting_ns));
    if !is_many && !waits {
        return None;
    }
    let mut draft = Draft::of_request(case, FindingKind::ChattyRequest, Fingerprint::default(), times);
    draft.detection.repeat = u32::try_from(queries).unwrap_or(u32::MAX);
    draft.detection.distinct = u32::try_from(request.summaries().len()).unwrap_or(u32::MAX);
    draft.detection.wasted_ns = if waits { waiting_ns } else { times.client_ns };
    draft.detection.fix = fix::chatty_advice(queries, waits.then_some(waiting_ns));
    draft.severity = Some(if is_many { Severity::Warning } else { Severity::Info });
    Some(draft)
}

/// Whether a statement is one the application talks to its data with, waiting for the answer before. Drivers read the
/// catalog, health checks read no table, migrations define, and a pipeline is one exchange.
fn is_talk(case: &Case<'_>, member: &Member<'_>) -> bool {
    let kind = member.statement.kind;
    let is_data = matches!(kind, Kind::Delete | Kind::Insert | Kind::Merge | Kind::Select | Kind::Update);
    let asks_nothing = || {
        let known = case.shape(member.statement.fingerprint);
        known.is_some_and(|it| it.facts.is_parsed && (it.facts.is_catalog_only || !it.facts.has_from))
    };
    is_data && member.statement.is_round_trip && !asks_nothing()
}

fn is_waiting(case: &Case<'_>, limits: &TimeSettings, waiting_ns: u64) -> bool {
    let duration = case.request.ended().since(case.request.started());
    #[expect(clippy::cast_precision_loss, reason = "a share needs no 64 bits")]
    let share = waiting_ns as f64 / duration.max(1) as f64;
    waiting_ns >= limits.waiting_ns && share >= limits.waiting_share
}

/// Nanoseconds the server waited for the client between two statements of one transaction.
fn waiting_ns(case: &Case<'_>) -> u64 {
    let mut last: Vec<(u64, u32)> = Vec::new();
    let mut waiting = 0_u64;
    for member in &case.members {
        let transaction = member.statement.transaction;
        let known = last.iter_mut().find(|(session, _)| *session == member.session);
        let before = match known {
            Some((_, before)) => std::mem::replace(before, transaction),
            None => {
                last.push((member.session, transaction));
                0
            }
        };
        if transaction != 0 && before == transaction {
            waiting = waiting.saturating_add(member.statement.turnaround.ns());
        }
    }
    waiting
}

fn times(case: &Case<'_>) -> Times {
    case.members.iter().fold(Times::default(), |sum, it| Times {
        server_ns: sum.server_ns.saturating_add(it.statement.server.ns()),
        transfer_ns: sum.transfer_ns.saturating_add(it.statement.transfer.ns()),
        client_ns: sum.client_ns.saturating_add(it.statement.turnaround.ns()),
    })
}

/// The longest pause after each statement; a pause seen while it lasted and again when it was over is one.
pub(super) fn find_idle(case: &Case<'_>) -> Vec<Draft> {
    let Some(limits) = &case.settings.times else { return Vec::new() };
    let mut worst: Vec<(Pause, bool)> = Vec::new();
    for (session, pause) in case.request.pauses() {
        let has_written = pause.has_written || has_written(case, session, pause);
        let most = if has_written { limits.idle_written_ns } else { limits.idle_ns };
        if pause.waited_ns < most {
            continue;
        }
        match worst.iter_mut().find(|(it, _)| it.after == pause.after) {
            Some((known, is_written)) => {
                *is_written |= has_written;
                if known.waited_ns < pause.waited_ns {
                    *known = *pause;
                }
            }
            None => worst.push((*pause, has_written)),
        }
    }
    worst.iter().map(|(pause, has_written)| draft(case, pause, *has_written)).collect()
}

fn draft(case: &Case<'_>, pause: &Pause, has_written: bool) -> Draft {
    let times = Times { client_ns: pause.waited_ns, ..Times::default() };
    let mut draft = Draft::of_request(case, FindingKind::IdleInTransaction, pause.after, times);
    draft.detection.repeat = 1;
    draft.detection.distinct = 1;
    draft.detection.wasted_ns = pause.waited_ns;
    draft.detection.confidence = Confidence::High;
    draft.detection.fix = fix::idle_advice(pause.waited_ns, has_written);
    draft.severity = Some(if has_written { Severity::Critical } else { Severity::Warning });
    draft
}

/// Writes that the first words of a statement don't tell (in a WITH), and locks that reads take.
fn has_written(case: &Case<'_>, session: u64, pause: &Pause) -> bool {
    let in_transaction = case.members.iter().filter(|it| {
        let statement = it.statement;
        it.session == session && statement.transaction == pause.transaction && statement.sent <= pause.began
    });
    in_transaction.filter(|it| it.statement.error.is_none()).any(|it| {
        let known = case.shape(it.statement.fingerprint);
        let locks = known.as_ref().is_some_and(|known| known.facts.has_locking);
        let is_known = known.as_ref().is_some_and(|known| known.facts.is_parsed);
        locks || (is_known && !matches!(Written::by(it.statement.kind, known), Written::Nothing))
    })
}
