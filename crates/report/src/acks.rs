//! Adds entries to a file of acknowledged findings. Comments and order of the file stay.
//!
//! Reading the file is the proxy's work, which also knows what every entry means.

use toml_edit::{ArrayOfTables, DocumentMut, Item, Table, value};

/// An acknowledgement to add.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewAck {
    /// The finding, 16 hexadecimal digits.
    pub id: Option<String>,
    /// Kind of finding.
    pub kind: Option<String>,
    /// Route; `*` stands for any characters.
    pub route: Option<String>,
    /// Table the statement names; `*` stands for any characters.
    pub table: Option<String>,
    /// Why it is as it should be.
    pub reason: String,
    /// Last day on which it holds, `2027-01-31`.
    pub expires: Option<String>,
    /// Repeats up to which it holds.
    pub max_repeat: Option<u32>,
}

impl NewAck {
    /// What it names: an entry that names the same is replaced.
    fn names(&self) -> [(&'static str, Option<&str>); 4] {
        [
            ("id", self.id.as_deref()),
            ("kind", self.kind.as_deref()),
            ("route", self.route.as_deref()),
            ("table", self.table.as_deref()),
        ]
    }

    fn is_named_by(&self, table: &Table) -> bool {
        let is_same = |(key, wanted): (&str, Option<&str>)| table.get(key).and_then(Item::as_str) == wanted;
        self.names().into_iter().all(is_same)
            && !table.contains_key("fingerprint")
            && !table.contains_key("parent")
    }

    fn write(&self, table: &mut Table) {
        for (key, text) in self.names() {
            if let Some(text) = text {
                table.insert(key, value(text));
            }
        }
        table.insert("reason", value(self.reason.as_str()));
        match self.expires.as_deref() {
            // A date proper where it is one; what it is worth is for the reader of the file.
            Some(expires) => match expires.parse::<toml_edit::Datetime>() {
                Ok(date) => drop(table.insert("expires", value(date))),
                Err(_) => drop(table.insert("expires", value(expires))),
            },
            None => drop(table.remove("expires")),
        }
        match self.max_repeat {
            Some(most) => drop(table.insert("max_repeat", value(i64::from(most)))),
            None => drop(table.remove("max_repeat")),
        }
    }
}

/// The file's text with one more entry, or with the entry for the same findings replaced.
///
/// # Errors
/// Words, when the text is no such file.
pub fn add_ack(text: &str, ack: &NewAck) -> Result<String, String> {
    let mut document: DocumentMut =
        text.parse().map_err(|error: toml_edit::TomlError| error.message().replace('\n', " "))?;
    if document.as_table().is_empty() && !text.trim().is_empty() {
        // What stands in a file without entries, comments, is its head: the writer would put it behind the first one.
        return Ok(format!("{}\n\n{}", text.trim_end(), add_ack("", ack)?));
    }
    let entries = document.as_table_mut().entry("ack").or_insert(Item::ArrayOfTables(ArrayOfTables::new()));
    let entries =
        entries.as_array_of_tables_mut().ok_or("ack is not a list: write [[ack]] above each entry")?;
    let known = entries.iter().position(|table| ack.is_named_by(table));
    match known.and_then(|at| entries.get_mut(at)) {
        Some(table) => ack.write(table),
        None => {
            let mut table = Table::new();
            ack.write(&mut table);
            entries.push(table);
        }
    }
    Ok(document.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ack(id: &str, reason: &str) -> NewAck {
        NewAck { id: Some(id.into()), reason: reason.into(), ..NewAck::default() }
    }

    #[test]
    fn entries_are_added_and_replaced_and_the_rest_stays() {
        let file = "# ours\nknown = ['1496fdb0462a5ea8']   # old\n\n[[ack]]\nid = 'a'\nreason = 'x' # why\n";
        let more = NewAck {
            expires: Some("2027-01-31".into()),
            max_repeat: Some(5),
            ..ack("b", "say \"hi\"\nthere")
        };
        let added = add_ack(file, &more).unwrap();
        let expected = format!(
            "{file}\n[[ack]]\nid = \"b\"\nreason = \"\"\"\nsay \"hi\"\nthere\"\"\"\nexpires = 2027-01-31\nmax_repeat = 5\n"
        );
        assert_eq!(added, expected);
        let replaced = add_ack(&added, &ack("b", "no")).unwrap();
        assert_eq!(replaced, format!("{file}\n[[ack]]\nid = \"b\"\nreason = \"no\"\n"));
        assert_eq!(add_ack("", &ack("a", "x")).unwrap(), "[[ack]]\nid = \"a\"\nreason = \"x\"\n");
        let first = add_ack("# ours\n", &ack("a", "x")).unwrap();
        assert_eq!(first, "# ours\n\n[[ack]]\nid = \"a\"\nreason = \"x\"\n");
    }

    #[test]
    fn what_is_no_such_file_is_refused() {
        add_ack("ack = 3", &ack("a", "x")).unwrap_err();
        add_ack("[[ack", &ack("a", "x")).unwrap_err();
    }
}
