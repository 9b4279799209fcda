//! Draws the model. Whatever the terminal's size, nothing here panics: what does not fit is left out.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Cell, Clear, Paragraph, Row as TableRow, Table, TableState, Wrap};

use super::model::{Mode, Model, Plan, View};
use super::rows::{Row, columns};
use crate::web::text::short;

/// Lines of the help.
const HELP: [&str; 21] = [
    "1-5 Tab ←→   findings, routes, statements, sessions, tap",
    "t            the live tap: statements as they end",
    "j k ↓ ↑      next, previous row",
    "Ctrl+d u     half a page down, up",
    "g G          first, last row",
    "Enter        all that is known of a row",
    "/            look for a text in what is shown",
    "f            filter, by pgtally:",
    "               route:/orders d>100ms op:select n+1",
    "               slow error sqlstate:23 tag:x -term",
    "Esc          without search and filter",
    "s            next order",
    "a            statements by share of time",
    "y            in a plan: run what writes, roll it back",
    "p Space      pause",
    "x X          EXPLAIN, EXPLAIN ANALYZE (rolled back)",
    "e E          the same, edited in $EDITOR before",
    "h l ← →      scroll a plan across",
    "c C          copy the statement, with its values",
    "w            write what is shown to a file (JSON)",
    "q            back, quit",
];

pub(super) fn draw(frame: &mut Frame<'_>, model: &Model) {
    let area = frame.area();
    let [top, middle, bottom] =
        Layout::vertical([Constraint::Length(1), Constraint::Min(0), Constraint::Length(1)]).areas(area);
    frame.render_widget(tabs(model, area.width), top);
    match &model.mode {
        Mode::Detail { scroll } => detail(frame, model.row(), *scroll, middle),
        Mode::Plan { down, across } => plan(frame, model.plan.as_ref(), (*down, *across), middle),
        _ => list(frame, model, middle),
    }
    frame.render_widget(footer(model), bottom);
    if let Mode::Help { scroll } = model.mode {
        help(frame, area, scroll);
    }
}

/// Columns that the names of all lists take.
const TABS_WIDTH: u16 = 59;

fn tabs(model: &Model, width: u16) -> Line<'_> {
    let mut spans = Vec::new();
    // Where there is no room for all, the one that is shown has to be seen.
    let is_seen = |view: &View| width >= TABS_WIDTH || *view == model.view;
    for (number, view) in (1..).zip(View::ALL).filter(|(_, view)| is_seen(view)) {
        let style =
            if view == model.view { Style::new().add_modifier(Modifier::REVERSED) } else { Style::new() };
        spans.push(Span::styled(format!(" {number} {} ", view.name()), style));
    }
    if model.is_paused {
        spans.push(Span::styled(" paused ", Style::new().fg(Color::Yellow)));
    }
    if !model.is_complete {
        spans.push(Span::styled(" observations were dropped ", Style::new().fg(Color::Yellow)));
    }
    if !model.filter.is_empty() {
        spans.push(Span::raw(format!(" {}", model.filter)));
    }
    spans.push(Span::styled(format!(" {}", model.url), Style::new().add_modifier(Modifier::DIM)));
    Line::from(spans)
}

/// Columns of a name that is cut on small screens.
const NAME_WIDTH: u16 = 13;

fn list(frame: &mut Frame<'_>, model: &Model, area: Rect) {
    let rows = model.rows();
    if rows.is_empty() {
        let text = if model.message.is_empty() { empty(model) } else { &model.message };
        return frame.render_widget(Paragraph::new(text).wrap(Wrap { trim: true }), area);
    }
    let columns = columns(model.view);
    let kept = fitting(columns, area.width);
    let names = kept.iter().filter_map(|index| columns.get(*index));
    let widths = names.clone().map(|(_, width)| match width {
        0 => Constraint::Fill(1),
        // On a small screen the statement is worth more than the end of a long name.
        width => Constraint::Length(if *width > NAME_WIDTH {
            (area.width / 5).clamp(NAME_WIDTH, *width)
        } else {
            *width
        }),
    });
    let header = TableRow::new(names.clone().map(|(name, _)| *name));
    let header = header.style(Style::new().add_modifier(Modifier::BOLD));
    let lines = rows.iter().map(|row| {
        let cells = kept.iter().filter_map(|index| row.cells.get(*index));
        TableRow::new(cells.map(|cell| Cell::from(cell.as_str()))).style(colour(row.severity))
    });
    let table = Table::new(lines, widths)
        .header(header)
        .row_highlight_style(Style::new().add_modifier(Modifier::REVERSED));
    let mut state = TableState::default().with_selected(Some(model.selected));
    frame.render_stateful_widget(table, area, &mut state);
}

/// The columns there is room for. The first stays whatever happens, and the one that takes the rest; of the others the
/// last goes first.
fn fitting(columns: &[(&str, u16)], width: u16) -> Vec<usize> {
    const REST_MIN: u16 = 10;
    let width_of = |index: &usize| match columns.get(*index) {
        Some((_, 0)) | None => REST_MIN,
        Some((_, width)) => *width,
    };
    let is_fixed = |index: &usize| columns.get(*index).is_some_and(|(_, width)| *width > 0);
    let mut kept: Vec<usize> = (0..columns.len()).collect();
    while kept.iter().map(|index| width_of(index) + 1).sum::<u16>() > width.saturating_add(1) {
        let Some(last) = kept.iter().rposition(|index| *index > 0 && is_fixed(index)) else { break };
        kept.remove(last);
    }
    kept
}

fn empty(model: &Model) -> &'static str {
    match model.view {
        _ if !model.filter.is_empty() || !model.search.is_empty() => "nothing fits; Esc shows all",
        View::Findings => "nothing is wrong, as far as seen",
        View::Routes => "no request has ended yet",
        View::Statements => "no statement has passed yet: point the application at pgtally",
        View::Sessions => "no session is being relayed",
        View::Tap if model.is_paused => "paused; p goes on",
        View::Tap => "waiting for statements: they appear here as they end",
    }
}

fn colour(severity: &str) -> Style {
    match severity {
        "critical" => Style::new().fg(Color::Red),
        "warning" => Style::new().fg(Color::Yellow),
        _ => Style::new(),
    }
}

fn detail(frame: &mut Frame<'_>, row: Option<&Row>, scroll: u16, area: Rect) {
    let Some(row) = row else { return };
    let mut lines = Vec::new();
    for (name, text) in &row.detail {
        let mut parts = text.lines();
        lines.push(Line::from(vec![
            Span::styled(format!("{name}: "), Style::new().add_modifier(Modifier::BOLD)),
            Span::raw(parts.next().unwrap_or_default()),
        ]));
        lines.extend(parts.map(Line::raw));
    }
    frame.render_widget(Paragraph::new(lines).wrap(Wrap { trim: false }).scroll((scroll, 0)), area);
}

fn plan(frame: &mut Frame<'_>, plan: Option<&Plan>, (down, across): (u16, u16), area: Rect) {
    let Some(plan) = plan else { return };
    let is_prose = !plan.is_known();
    let bold = Style::new().add_modifier(Modifier::BOLD);
    let [title, statement, rest] =
        Layout::vertical([Constraint::Length(1), Constraint::Length(1), Constraint::Min(0)]).areas(area);
    frame.render_widget(Line::styled(plan.title(), bold), title);
    let text = short(&plan.question.statement, usize::from(area.width));
    frame.render_widget(Line::styled(text, Style::new().add_modifier(Modifier::DIM)), statement);
    let lines = Paragraph::new(plan.text());
    // A plan's indentation is its meaning: it is scrolled, never wrapped.
    let lines = if is_prose { lines.wrap(Wrap { trim: false }) } else { lines };
    frame.render_widget(lines.scroll((down, if is_prose { 0 } else { across })), rest);
}

fn footer(model: &Model) -> Line<'_> {
    match &model.mode {
        Mode::Filter(text) if model.message.is_empty() => Line::raw(format!("filter: {text}▏")),
        Mode::Filter(text) => Line::raw(format!("filter: {text}▏ {}", model.message)),
        Mode::Search => Line::raw(format!("/{}▏", model.search)),
        Mode::Detail { .. } | Mode::Plan { .. } if !model.message.is_empty() => {
            Line::raw(model.message.as_str())
        }
        Mode::Detail { .. } => Line::raw("j k scroll  c C copy  x X e E explain  q back"),
        Mode::Plan { .. } => Line::raw("h j k l scroll  c copy  e E edit and explain  q back"),
        Mode::Help { .. } => Line::raw("j k scroll, other keys go back"),
        Mode::List if !model.message.is_empty() && !model.rows().is_empty() => {
            Line::raw(model.message.as_str())
        }
        Mode::List => {
            let order = match model.order() {
                "" => String::new(),
                order => format!("  s sort: {order}"),
            };
            let search = if model.search.is_empty() { String::new() } else { format!("  /{}", model.search) };
            Line::raw(format!(
                "{} rows{search}{order}  f filter  / search  Enter inspect  ? help  q quit",
                model.rows().len()
            ))
        }
    }
}

fn help(frame: &mut Frame<'_>, area: Rect, scroll: u16) {
    let width = area.width.min(56);
    // The last line says how to get out.
    let height = area.height.saturating_sub(1).min(HELP.len() as u16);
    let place =
        Rect { x: area.x + (area.width - width) / 2, y: area.y + (area.height - height) / 2, width, height };
    frame.render_widget(Clear, place);
    let style = Style::new().add_modifier(Modifier::REVERSED);
    let scroll = scroll.min((HELP.len() as u16).saturating_sub(height));
    frame.render_widget(Paragraph::new(HELP.join("\n")).style(style).scroll((scroll, 0)), place);
}

#[cfg(test)]
mod tests;
