use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use serde_json::json;

use super::*;
use crate::top::live::Told;
use crate::top::model::Action;

fn model() -> Model {
    let mut model = Model::new("http://127.0.0.1:9187", String::new());
    let finding = |route: &str, statement: &str| {
        json!({
            "kind": "n_plus_one", "confidence": "high", "severity": "critical", "state": "new", "repeat": 50,
            "wasted_ms": 48.2, "requests": 3, "route": route, "statement": statement,
            "fix": "Load them at once.", "parent_statement": "SELECT * FROM orders"
        })
    };
    let findings = [
        finding("GET /orders", "SELECT * FROM customers WHERE id = $1"),
        finding("GET /evil", "SELECT \u{1b}[2J\u{202e}x"),
    ];
    model.take(&model.query(), Ok(json!({ "complete": true, "findings": findings })));
    model
}

fn press(model: &mut Model, keys: &str) -> Action {
    let mut last = Action::None;
    for key in keys.chars() {
        let code = match key {
            '\n' => KeyCode::Enter,
            '\u{1b}' => KeyCode::Esc,
            '\t' => KeyCode::Tab,
            '\u{8}' => KeyCode::Backspace,
            key => KeyCode::Char(key),
        };
        last = model.press(KeyEvent::new(code, KeyModifiers::NONE));
    }
    last
}

fn screen(model: &Model, width: u16, height: u16) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw(frame, model)).unwrap();
    // The backend cannot show what has no width.
    if width == 0 { String::new() } else { terminal.backend().to_string() }
}

#[test]
fn findings_stand_on_one_screen() {
    let screen = screen(&model(), 120, 10);
    for text in ["1 findings", "N+1", "×50", "48 ms", "GET /orders", "SELECT * FROM customers", "q quit"] {
        assert!(screen.contains(text), "{text} is not in\n{screen}");
    }
}

#[test]
fn nothing_panics_on_any_size() {
    let mut all = [model(), model(), model(), model()];
    press(&mut all[1], "?");
    press(&mut all[2], "\n");
    press(&mut all[3], "f");
    for model in &all {
        for (width, height) in [(0, 0), (1, 1), (20, 5), (3, 40), (300, 2), (80, 24)] {
            screen(model, width, height);
        }
    }
    assert!(screen(&all[0], 20, 5).contains("N+1"));
}

#[test]
fn what_a_terminal_would_obey_is_shown() {
    let mut model = model();
    assert!(screen(&model, 160, 10).contains("⟦U+001B⟧[2J⟦U+202E⟧x"));
    press(&mut model, "j\n");
    let detail = screen(&model, 160, 24);
    assert!(detail.contains("fix: Load them at once.") && detail.contains("⟦U+001B⟧"), "{detail}");
    assert_eq!(press(&mut model, "c"), Action::Copy("SELECT ⟦U+001B⟧[2J⟦U+202E⟧x".into()));
    assert_eq!(press(&mut model, "qq"), Action::Quit);
}

#[test]
fn searches_and_filters_are_typed() {
    let mut model = model();
    press(&mut model, "/ORDERz\u{8}");
    assert_eq!(model.rows().len(), 1);
    press(&mut model, "\u{1b}fd>fast\n");
    assert!(screen(&model, 120, 10).contains("`fast` is no duration"));
    press(&mut model, "\u{8}\u{8}\u{8}\u{8}100ms\n");
    assert_eq!((model.filter.as_str(), &model.mode), ("d>100ms", &Mode::List));
    assert!(model.query().pairs().contains(&("filter", "d>100ms")));
    press(&mut model, "\u{1b}");
    assert_eq!(model.filter, "");
}

#[test]
fn views_have_their_orders_and_late_answers_are_dropped() {
    let mut model = model();
    let old = model.query();
    press(&mut model, "3s");
    assert_eq!(model.query().pairs(), [("filter", ""), ("limit", "500"), ("sort", "calls")]);
    model.take(&old, Ok(json!({ "findings": [{ "route": "late" }] })));
    assert!(model.rows().is_empty());
    model.take(&model.query(), Err("nobody is there".into()));
    assert!(screen(&model, 80, 10).contains("nobody is there"));
    press(&mut model, "\t\t\t");
    assert_eq!(model.view, View::Findings);
    press(&mut model, "p");
    assert!(model.query().is_paused);
}

#[test]
fn the_live_stream_follows_pauses_and_keeps_the_row_that_is_looked_at() {
    let mut model = model();
    let statement = |number: u32, text: &str| {
        Told::Statement(json!({
            "at": format!("2026-01-31T12:34:56.{number:03}Z"), "duration_ms": f64::from(number % 10), "rows": 1,
            "route": "GET /orders", "session": 3, "statement": text, "repeat": number, "n_plus_one": number == 2
        }))
    };
    press(&mut model, "t");
    assert_eq!(model.query().followed(), Some(""));
    model.take_live(vec![statement(1, "SELECT 1"), statement(2, "SELECT \u{1b}[2J"), Told::Dropped(7)]);
    let shown = screen(&model, 140, 10);
    for text in ["12:34:56.002", "×2 N+1", "⟦U+001B⟧[2J", "7 statements not shown"] {
        assert!(shown.contains(text), "{text} is not in\n{shown}");
    }
    assert!(model.row().unwrap().cells.contains(&"SELECT ⟦U+001B⟧[2J".to_owned()));
    press(&mut model, "j\n");
    model.take_live((3..2_000).map(|number| statement(number, "SELECT 2")).collect());
    assert_eq!(model.rows().len(), 1_000);
    press(&mut model, "qg");
    model.take_live(vec![statement(1, "SELECT 3"), statement(9, "SELECT 9")]);
    assert!(model.row().unwrap().cells.contains(&"SELECT 9".to_owned()));
    press(&mut model, "j\n");
    model.take_live(vec![statement(4, "SELECT 4")]);
    assert!(model.row().unwrap().cells.contains(&"SELECT 3".to_owned()));
    press(&mut model, "q/SELECT 9\ns");
    assert_eq!(model.rows().len(), 1);
    assert_eq!(model.query().followed(), Some(""), "an order is no other stream");
    let Action::Export(json) = press(&mut model, "w") else { panic!("no export") };
    assert!(json.contains("SELECT 4"));
    press(&mut model, "\u{1b}p");
    model.take_live(vec![statement(5, "SELECT 5")]);
    assert!(!screen(&model, 140, 30).contains("SELECT 5"));
    press(&mut model, "1t");
    assert!(model.rows().is_empty() && screen(&model, 60, 6).contains("paused"));
}
