//! A statement in the user's own editor: `$VISUAL`, else `$EDITOR`, else `vi`, as other programs do it.
//!
//! The terminal is lent to the editor and taken back, whatever becomes of it. The file is the user's alone, as values may
//! stand in it, and is gone afterwards.

use std::io::{self, Read, Write, stdout};
use std::process::Command;

use ratatui::DefaultTerminal;
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{
    EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
};

/// Bytes of a file that are taken back.
const TEXT_BYTES_MAX: u64 = 1 << 20;

/// What the user has made of `statement`; `Err` says why there is nothing.
pub(super) fn edit(terminal: &mut DefaultTerminal, statement: &str) -> io::Result<Result<String, String>> {
    disable_raw_mode()?;
    execute!(stdout(), LeaveAlternateScreen)?;
    let edited = edited(statement);
    execute!(stdout(), EnterAlternateScreen)?;
    enable_raw_mode()?;
    terminal.clear()?;
    Ok(edited)
}

fn edited(statement: &str) -> Result<String, String> {
    let cannot = |error: io::Error| format!("cannot edit it: {error}");
    let mut file = tempfile::Builder::new().prefix("pgtally-").suffix(".sql").tempfile().map_err(cannot)?;
    file.write_all(statement.as_bytes()).and_then(|()| file.flush()).map_err(cannot)?;
    let named = |name: &str| std::env::var(name).ok().filter(|editor| !editor.trim().is_empty());
    let editor = named("VISUAL").or_else(|| named("EDITOR")).unwrap_or_else(|| "vi".into());
    // The variable may hold arguments, and is the shell's to take apart.
    let command = format!("{editor} \"$1\"");
    let ended = Command::new("sh").args(["-c", &command, "sh"]).arg(file.path()).status().map_err(cannot)?;
    if !ended.success() {
        return Err(format!("the editor has ended with {ended}: nothing was explained"));
    }
    // Many editors write a new file in the place of the old one.
    let mut text = String::new();
    let file = std::fs::File::open(file.path()).map_err(cannot)?;
    file.take(TEXT_BYTES_MAX).read_to_string(&mut text).map_err(cannot)?;
    let text = text.trim().trim_end_matches(';').trim_end().to_owned();
    if text.is_empty() { Err("there is nothing left to explain".into()) } else { Ok(text) }
}
