// SPDX-License-Identifier: MIT OR Apache-2.0
//! A row is described once, as columns; its header and its text, CSV and JSON
//! forms all come from that.

use std::borrow::Cow;
use std::io::Write as _;
use std::net::IpAddr;

use crate::escape::{c_bytes, printable};
use crate::numbers::{push_fixed, push_integer, push_ip};

/// What a column shows.
pub enum Value<'a> {
    Int(i64),
    Uint(u64),
    /// Lower-case hexadecimal without `0x`; in JSON a string with it.
    Hex(u64),
    /// Octal with at least `digits` digits; in JSON the number.
    Octal {
        value: u64,
        digits: usize,
    },
    /// A number with a fixed count of decimals.
    Fixed {
        value: f64,
        decimals: usize,
    },
    /// Bytes from an untrusted source, up to their first NUL; escaped.
    Name(&'a [u8]),
    /// Text of our own.
    Str(Cow<'a, str>),
    Ip(IpAddr),
    Bool(bool),
    /// JSON that is written already, such as a list.
    Json(String),
    /// Empty; in JSON `null`.
    Missing,
    /// `-`; in JSON `null`.
    Unknown,
}

impl From<&'static str> for Value<'_> {
    fn from(text: &'static str) -> Self {
        Value::Str(text.into())
    }
}

impl From<String> for Value<'_> {
    fn from(text: String) -> Self {
        Value::Str(text.into())
    }
}

impl Value<'_> {
    // Writing to a Vec cannot fail, so the results of write! are dropped.
    fn write_text(&self, out: &mut Vec<u8>) {
        let _ = match self {
            Value::Int(v) => return push_integer(*v, out),
            Value::Uint(v) => return push_integer(*v, out),
            Value::Hex(v) => write!(out, "{v:x}"),
            Value::Octal { value, digits } => write!(out, "{value:0digits$o}"),
            Value::Fixed { value, decimals } => return push_fixed(*value, *decimals, out),
            Value::Name(bytes) => out.write_all(printable(c_bytes(bytes)).as_bytes()),
            Value::Str(text) => out.write_all(text.as_bytes()),
            Value::Ip(ip) => return push_ip(*ip, out),
            Value::Bool(v) => write!(out, "{v}"),
            Value::Json(json) => out.write_all(json.as_bytes()),
            Value::Missing => Ok(()),
            Value::Unknown => write!(out, "-"),
        };
    }

    fn write_json(&self, out: &mut Vec<u8>) {
        let _ = match self {
            Value::Int(v) => return push_integer(*v, out),
            Value::Uint(v) => return push_integer(*v, out),
            Value::Octal { value, .. } => return push_integer(*value, out),
            Value::Fixed { value, decimals } => return push_fixed(*value, *decimals, out),
            Value::Hex(v) => write!(out, "\"0x{v:x}\""),
            Value::Ip(ip) => write!(out, "\"{ip}\""),
            Value::Bool(v) => write!(out, "{v}"),
            Value::Json(json) => out.write_all(json.as_bytes()),
            Value::Missing | Value::Unknown => write!(out, "null"),
            // JSON escapes control characters itself; nothing is cut.
            Value::Name(bytes) => {
                write_json_string(&String::from_utf8_lossy(c_bytes(bytes)), out);
                Ok(())
            }
            Value::Str(text) => {
                write_json_string(text, out);
                Ok(())
            }
        };
    }
}

/// A name as a JSON string, for a list of them.
pub fn json_name(name: &[u8]) -> String {
    let mut out = Vec::new();
    write_json_string(&String::from_utf8_lossy(name), &mut out);
    String::from_utf8_lossy(&out).into_owned()
}

/// `text` as a JSON string, with DEL and C1 escaped as well, so that JSON on a
/// terminal cannot drive it either.
fn write_json_string(text: &str, out: &mut Vec<u8>) {
    let start = out.len();
    // A &str always serialises, and a Vec takes everything.
    let _ = serde_json::to_writer(&mut *out, text);
    if !text.chars().any(|c| matches!(c, '\u{7f}'..='\u{9f}')) {
        return;
    }
    let plain = String::from_utf8_lossy(out.get(start..).unwrap_or_default()).into_owned();
    out.truncate(start);
    for c in plain.chars() {
        let _ = match c {
            '\u{7f}'..='\u{9f}' => write!(out, "\\u{:04x}", c as u32),
            c => write!(out, "{c}"),
        };
    }
}

type Get<R> = for<'r> fn(&'r R) -> Value<'r>;

/// One column. Without further calls it is shown in text and CSV, as wide as
/// its content, followed by one blank.
pub struct Column<R> {
    title: &'static str,
    width: usize,
    right: bool,
    cut: bool,
    separator: &'static str,
    text: Option<Get<R>>,
    csv: Option<Get<R>>,
    json: Option<(&'static str, Get<R>)>,
}

/// A column with a header for text and CSV.
pub fn column<R>(title: &'static str, get: Get<R>) -> Column<R> {
    Column {
        title,
        width: 0,
        right: false,
        cut: false,
        separator: " ",
        text: Some(get),
        csv: Some(get),
        json: None,
    }
}

/// A field that only JSON has.
pub fn json_field<R>(key: &'static str, get: Get<R>) -> Column<R> {
    Column {
        text: None,
        csv: None,
        ..column("", get).json(key, get)
    }
}

impl<R> Column<R> {
    /// Left-aligned, padded to `width` characters (`%-Ns`).
    pub fn left(self, width: usize) -> Self {
        Self { width, ..self }
    }

    /// Right-aligned, padded to `width` characters (`%Ns`).
    pub fn right(self, width: usize) -> Self {
        Self {
            width,
            right: true,
            ..self
        }
    }

    /// Cut to the width in text (`%-N.Ns`); CSV and JSON have the whole value.
    pub fn cut(self) -> Self {
        Self { cut: true, ..self }
    }

    /// What stands between this column and the next in text, instead of a blank.
    pub fn separator(self, separator: &'static str) -> Self {
        Self { separator, ..self }
    }

    /// In JSON the same value, as `key`.
    pub fn key(self, key: &'static str) -> Self {
        let json = self.text.or(self.csv).map(|get| (key, get));
        Self { json, ..self }
    }

    /// In JSON another value (unit, full length), as `key`.
    pub fn json(self, key: &'static str, get: Get<R>) -> Self {
        Self {
            json: Some((key, get)),
            ..self
        }
    }

    /// Not in the text form.
    pub fn no_text(self) -> Self {
        Self { text: None, ..self }
    }

    /// Brings the cell that begins at `start` to its width; its own length.
    fn pad(&self, start: usize, out: &mut Vec<u8>) -> usize {
        let cell = out.get(start..).unwrap_or_default();
        let length = if cell.is_ascii() {
            cell.len()
        } else {
            // Cells are UTF-8: each character has one byte that continues none.
            cell.iter().filter(|&&byte| byte & 0xc0 != 0x80).count()
        };
        if self.cut && length > self.width {
            let kept = String::from_utf8_lossy(cell)
                .char_indices()
                .nth(self.width)
                .map_or(cell.len(), |(at, _)| at);
            out.truncate(start + kept);
        } else if length < self.width {
            let blanks = self.width - length;
            let end = out.len();
            out.resize(end + blanks, b' ');
            if self.right {
                if let Some(cell) = out.get_mut(start..) {
                    cell.rotate_right(blanks);
                }
            }
        }
        length
    }
}

/// The form in which rows are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Text,
    Csv,
    Json,
}

/// Columns and the form to write them in.
pub struct Table<R> {
    columns: Vec<Column<R>>,
    format: Format,
}

impl<R> Table<R> {
    pub fn new(format: Format) -> Self {
        Self {
            columns: Vec::new(),
            format,
        }
    }

    pub fn format(&self) -> Format {
        self.format
    }

    /// Adds a column at the right.
    pub fn add(&mut self, column: Column<R>) -> &mut Self {
        self.columns.push(column);
        self
    }

    /// Writes the header line; JSON has none.
    pub fn header(&self, out: &mut Vec<u8>) {
        match self.format {
            Format::Text => self.text(out, |column, out| {
                column
                    .text
                    .is_some()
                    .then(|| out.extend_from_slice(column.title.as_bytes()))
            }),
            Format::Csv => self.csv(out, |column, out| {
                column
                    .csv
                    .is_some()
                    .then(|| out.extend_from_slice(column.title.as_bytes()))
            }),
            Format::Json => {}
        }
    }

    /// Writes one row and its newline.
    pub fn row(&self, row: &R, out: &mut Vec<u8>) {
        match self.format {
            Format::Text => self.text(out, |column, out| {
                column.text.map(|get| get(row).write_text(out))
            }),
            Format::Csv => self.csv(out, |column, out| {
                column.csv.map(|get| get(row).write_text(out))
            }),
            Format::Json => self.json(row, out),
        }
    }

    /// `cell` writes a column's cell, or is `None` when the form lacks the column.
    fn text(&self, out: &mut Vec<u8>, cell: impl Fn(&Column<R>, &mut Vec<u8>) -> Option<()>) {
        let mut separator = "";
        let mut full = false;
        for column in &self.columns {
            let before = out.len();
            out.extend_from_slice(separator.as_bytes());
            let start = out.len();
            if cell(column, out).is_none() {
                out.truncate(before);
                continue;
            }
            let length = column.pad(start, out);
            // A cell that has filled a column that no blank follows must not
            // run into its neighbour.
            if full && out.get(start) != Some(&b' ') {
                out.insert(start, b' ');
            }
            full = column.separator.is_empty() && length >= column.width;
            separator = column.separator;
        }
        out.push(b'\n');
    }

    fn csv(&self, out: &mut Vec<u8>, cell: impl Fn(&Column<R>, &mut Vec<u8>) -> Option<()>) {
        let start = out.len();
        for column in &self.columns {
            if cell(column, out).is_some() {
                out.push(b',');
            }
        }
        if out.len() > start {
            out.pop();
        }
        out.push(b'\n');
    }

    fn json(&self, row: &R, out: &mut Vec<u8>) {
        let mut separator = b'{';
        for (key, get) in self.columns.iter().filter_map(|column| column.json) {
            out.push(separator);
            write_json_string(key, out);
            out.push(b':');
            get(row).write_json(out);
            separator = b',';
        }
        out.extend_from_slice(b"}\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Row {
        pid: u32,
        comm: Vec<u8>,
        fd: i64,
        ms: f64,
    }

    fn table(format: Format) -> Table<Row> {
        let mut table = Table::new(format);
        table
            .add(
                column("PID", |r: &Row| Value::Uint(r.pid.into()))
                    .left(6)
                    .key("pid"),
            )
            .add(
                column("COMM", |r: &Row| Value::Name(&r.comm))
                    .left(5)
                    .cut()
                    .key("comm"),
            )
            .add(
                column("FD", |r: &Row| Value::Int(r.fd))
                    .right(4)
                    .key("fd")
                    .separator(" -> "),
            )
            .add(json_field("addr", |_| Value::Hex(0xff)))
            .add(
                column("MS", |r: &Row| Value::Fixed {
                    value: r.ms,
                    decimals: 3,
                })
                .json("duration_us", |r| Value::Uint((r.ms * 1000.0) as u64)),
            );
        table
    }

    fn written(format: Format, comm: &[u8]) -> String {
        let mut out = Vec::new();
        let table = table(format);
        table.header(&mut out);
        table.row(
            &Row {
                pid: 7,
                comm: comm.to_vec(),
                fd: -1,
                ms: 1.5,
            },
            &mut out,
        );
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn text_is_padded_cut_and_separated() {
        assert_eq!(
            written(Format::Text, b"longname\0x"),
            "PID    COMM    FD -> MS\n7      longn   -1 -> 1.500\n"
        );
    }

    #[test]
    fn csv_is_plain_and_whole() {
        assert_eq!(
            written(Format::Csv, b"longname"),
            "PID,COMM,FD,MS\n7,longname,-1,1.500\n"
        );
    }

    #[test]
    fn json_is_one_valid_line() {
        let line = written(Format::Json, b"a\"\n\x1b\xff\x7f");
        assert_eq!(line.lines().count(), 1);
        assert!(!line.contains(['\x1b', '\x7f']));
        let value: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(value["comm"], "a\"\n\x1b\u{fffd}\x7f");
        assert_eq!(value["duration_us"], 1500);
        assert_eq!(value["addr"], "0xff");
    }

    #[test]
    fn cells_are_measured_and_cut_in_characters() {
        let mut table = Table::new(Format::Text);
        table
            .add(column("N", |r: &Vec<u8>| Value::Name(r)).left(4).cut())
            .add(column("X", |_| "x".into()));
        let mut out = Vec::new();
        for name in ["größe", "größ", "gr", "日本語の名"] {
            table.row(&name.as_bytes().to_vec(), &mut out);
        }
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "größ x\ngröß x\ngr   x\n日本語の x\n"
        );
    }

    #[test]
    fn a_row_with_control_characters_is_one_line() {
        let mut table = Table::new(Format::Text);
        table.add(column("NAME", |r: &Vec<u8>| Value::Name(r)));
        let mut out = Vec::new();
        table.row(&b"a\nb\x1b[0m".to_vec(), &mut out);
        assert_eq!(out, b"a\\nb\\x1b[0m\n");
    }

    #[test]
    fn columns_without_a_blank_never_touch() {
        let mut table = Table::new(Format::Text);
        table
            .add(column("T", |r: &u64| Value::Uint(*r)).left(3).separator(""))
            .add(column("X", |_| "x".into()));
        let mut out = Vec::new();
        for value in [1, 12, 123, 1234] {
            table.row(&value, &mut out);
        }
        assert_eq!(out, b"1  x\n12 x\n123 x\n1234 x\n");
    }

    #[test]
    fn what_is_aligned_right_keeps_apart_by_itself() {
        let mut table = Table::new(Format::Text);
        table
            .add(column("T", |r: &u64| Value::Uint(*r)).left(2).separator(""))
            .add(column("X", |r: &u64| Value::Uint(*r)).right(4));
        let mut out = Vec::new();
        for value in [1, 12, 123, 1234] {
            table.row(&value, &mut out);
        }
        assert_eq!(out, b"1    1\n12  12\n123 123\n1234 1234\n");
    }
}
