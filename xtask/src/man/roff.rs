// SPDX-License-Identifier: MIT OR Apache-2.0
//! Roff for the `man` macros, and its making from markdown.

use anyhow::{Result, bail};
use pulldown_cmark::{Alignment, Event, HeadingLevel, Options, Parser, Tag, TagEnd};

#[derive(Clone, Copy)]
pub enum Font {
    Roman,
    Bold,
    Italic,
}

/// `text` for the middle of a line. Everything is as it stands in the source,
/// so that it can be copied from the terminal: groff would make another
/// character of each of these.
fn escape(text: &str, literal: bool) -> String {
    let mut out = String::with_capacity(text.len() + 16);
    let mut before = None;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\\' => out.push_str("\\e"),
            '\'' => out.push_str("\\(aq"),
            '"' => out.push_str("\\(dq"),
            '`' => out.push_str("\\(ga"),
            '^' => out.push_str("\\(ha"),
            '~' => out.push_str("\\(ti"),
            // A hyphen joins two words, anything else is a minus sign.
            '-' if literal
                || !before.is_some_and(char::is_alphanumeric)
                || !chars.peek().copied().is_some_and(char::is_alphanumeric) =>
            {
                out.push_str("\\-");
            }
            c if c.is_ascii() => out.push(c),
            c => out.push_str(&format!("\\[u{:04X}]", c as u32)),
        }
        before = Some(c);
    }
    out
}

/// A page that is being written.
#[derive(Default)]
pub struct Roff {
    out: String,
    /// Nothing has followed a heading or the mark of a list item yet: text
    /// needs no paragraph of its own.
    fresh: bool,
}

impl Roff {
    /// A line for roff itself.
    pub fn request(&mut self, request: &str) {
        if !self.out.is_empty() && !self.out.ends_with('\n') {
            self.out.push('\n');
        }
        self.out.push_str(request);
        self.out.push('\n');
    }

    pub fn section(&mut self, title: &str) {
        self.request(&format!(".SH {}", escape(&title.to_uppercase(), false)));
        self.fresh = true;
    }

    pub fn subsection(&mut self, title: &str) {
        self.request(&format!(".SS {}", escape(title, false)));
        self.fresh = true;
    }

    /// The next paragraph, unless a heading or a mark has just begun one.
    pub fn paragraph(&mut self) {
        if !self.fresh {
            self.request(".PP");
        }
        self.fresh = false;
    }

    /// A paragraph under a tag, which the first line of text is.
    pub fn tagged(&mut self) {
        self.request(".TP");
        self.fresh = false;
    }

    /// Ends the line.
    pub fn line(&mut self) {
        if !self.out.ends_with('\n') {
            self.out.push('\n');
        }
    }

    /// Words in a paragraph.
    pub fn text(&mut self, text: &str) {
        self.escaped(&escape(text, false));
    }

    /// What is typed or read as it stands: an option, a name, a value.
    pub fn literal(&mut self, text: &str, font: Font) {
        self.literal_in(text, font, Font::Roman);
    }

    /// The same in text of another font.
    fn literal_in(&mut self, text: &str, font: Font, around: Font) {
        self.font(font);
        self.escaped(&escape(text, true));
        self.font(around);
    }

    fn font(&mut self, font: Font) {
        self.out.push_str(match font {
            Font::Roman => "\\fR",
            Font::Bold => "\\fB",
            Font::Italic => "\\fI",
        });
    }

    /// Adds text that is escaped already, but for the begin of its lines.
    fn escaped(&mut self, text: &str) {
        for line in text.split_inclusive('\n') {
            // A request, the end of a cell (`T}`) or a rule (`_`, `=`) of tbl.
            let special = line.starts_with(['.', '_', '=']) || line.starts_with("T}");
            if special && self.out.ends_with('\n') {
                self.out.push_str("\\&");
            }
            self.out.push_str(line);
        }
    }

    /// Preformatted lines.
    fn code(&mut self, code: &str) {
        self.request(".EX");
        self.escaped(&escape(code, true));
        self.request(".EE");
    }

    /// A subset of markdown: what it lacks is an error, lest it be missing in
    /// the page.
    pub fn markdown(&mut self, source: &str) -> Result<()> {
        let mut walk = Walk::default();
        for event in Parser::new_ext(source, Options::ENABLE_TABLES) {
            walk.event(self, event)?;
        }
        Ok(())
    }

    /// The page so far.
    pub fn finish(mut self) -> String {
        self.line();
        self.out
    }
}

/// Where in a markdown document we are.
#[derive(Default)]
struct Walk {
    fonts: Vec<Font>,
    /// The text of the heading that we are in.
    heading: Option<String>,
    /// The code block that we are in.
    code: Option<String>,
    /// The number of the next item of each list around us; none: bullets.
    lists: Vec<Option<u64>>,
    /// Where the link that we are in leads.
    link: String,
    table: Table,
}

#[derive(Default)]
struct Table {
    columns: usize,
    column: usize,
    in_head: bool,
}

impl Table {
    /// A cell that is filled: its text may take several lines.
    fn is_block(&self) -> bool {
        !self.in_head && self.column + 1 == self.columns
    }
}

impl Walk {
    fn event(&mut self, roff: &mut Roff, event: Event<'_>) -> Result<()> {
        match event {
            Event::Start(tag) => self.start(roff, tag)?,
            Event::End(tag) => self.end(roff, tag),
            Event::Text(text) => match (&mut self.code, &mut self.heading) {
                (Some(code), _) => code.push_str(&text),
                (_, Some(heading)) => heading.push_str(&text),
                _ => {
                    roff.fresh = false;
                    roff.text(&text);
                }
            },
            Event::Code(code) => match &mut self.heading {
                Some(heading) => heading.push_str(&code),
                None => {
                    roff.fresh = false;
                    roff.literal_in(&code, Font::Bold, self.font());
                }
            },
            Event::SoftBreak => roff.line(),
            Event::HardBreak => roff.request(".br"),
            Event::Html(html) if html.trim_start().starts_with("<!--") => {}
            other => bail!("man pages have no form for {other:?}"),
        }
        Ok(())
    }

    fn start(&mut self, roff: &mut Roff, tag: Tag<'_>) -> Result<()> {
        match tag {
            Tag::Heading { level, .. } if level <= HeadingLevel::H2 => {
                self.heading = Some(String::new());
            }
            Tag::Paragraph => self.block(roff),
            Tag::Strong | Tag::Emphasis if self.heading.is_some() => {}
            Tag::Strong => self.push_font(roff, Font::Bold),
            Tag::Emphasis => self.push_font(roff, Font::Italic),
            Tag::Link { dest_url, .. } => self.link = dest_url.into_string(),
            Tag::CodeBlock(_) => {
                self.block(roff);
                self.code = Some(String::new());
            }
            Tag::List(first) => {
                if !self.lists.is_empty() {
                    roff.request(".RS 4");
                }
                self.lists.push(first);
            }
            Tag::Item => {
                roff.request(&match self.lists.last_mut() {
                    Some(Some(number)) => {
                        *number += 1;
                        format!(".IP {}. 4", *number - 1)
                    }
                    _ => ".IP \\(bu 4".to_owned(),
                });
                roff.fresh = true;
            }
            Tag::Table(alignments) => self.begin_table(roff, &alignments),
            Tag::TableHead => {
                self.table.in_head = true;
                self.table.column = 0;
            }
            Tag::TableRow => self.table.column = 0,
            Tag::TableCell => {
                if self.table.column > 0 {
                    roff.out.push('\t');
                }
                if self.table.in_head {
                    self.push_font(roff, Font::Bold);
                } else if self.table.is_block() {
                    roff.out.push_str("T{\n");
                }
            }
            Tag::HtmlBlock => {}
            other => bail!("man pages have no form for {other:?}"),
        }
        Ok(())
    }

    fn end(&mut self, roff: &mut Roff, tag: TagEnd) {
        match tag {
            TagEnd::Heading(level) => {
                let title = self.heading.take().unwrap_or_default();
                match level {
                    HeadingLevel::H1 => roff.section(&title),
                    _ => roff.subsection(&title),
                }
            }
            TagEnd::Paragraph => roff.line(),
            TagEnd::Strong | TagEnd::Emphasis if self.heading.is_some() => {}
            TagEnd::Strong | TagEnd::Emphasis => self.pop_font(roff),
            TagEnd::Link => {
                let link = std::mem::take(&mut self.link);
                roff.text(" <");
                roff.literal(&link, Font::Italic);
                roff.text(">");
            }
            TagEnd::CodeBlock => {
                let code = self.code.take().unwrap_or_default();
                roff.request(".RS 4");
                roff.code(&code);
                roff.request(".RE");
            }
            TagEnd::List(_) => {
                self.lists.pop();
                if !self.lists.is_empty() {
                    roff.request(".RE");
                }
            }
            TagEnd::Item => roff.line(),
            TagEnd::Table => roff.request(".TE"),
            TagEnd::TableHead => {
                self.table.in_head = false;
                roff.line();
            }
            TagEnd::TableRow => roff.line(),
            TagEnd::TableCell => {
                if self.table.in_head {
                    self.pop_font(roff);
                } else if self.table.is_block() {
                    roff.request("T}");
                    roff.out.pop();
                }
                self.table.column += 1;
            }
            _ => {}
        }
    }

    /// The begin of a paragraph, of a list item or of its next paragraph.
    fn block(&self, roff: &mut Roff) {
        if self.lists.is_empty() || roff.fresh {
            roff.paragraph();
        } else {
            roff.request(".IP");
        }
    }

    /// A table as wide as the page; its last column is filled.
    fn begin_table(&mut self, roff: &mut Roff, alignments: &[Alignment]) {
        self.table = Table {
            columns: alignments.len(),
            ..Table::default()
        };
        let formats: Vec<_> = alignments
            .iter()
            .enumerate()
            .map(|(index, alignment)| match alignment {
                _ if index + 1 == alignments.len() => "lx",
                Alignment::Right => "r",
                _ => "l",
            })
            .collect();
        roff.fresh = false;
        roff.request(".TS");
        // Else groff leaves a blank line where a page would end on paper.
        roff.request("nokeep;");
        roff.request(&format!("{}.", formats.join(" ")));
    }

    fn font(&self) -> Font {
        self.fonts.last().copied().unwrap_or(Font::Roman)
    }

    fn push_font(&mut self, roff: &mut Roff, font: Font) {
        roff.fresh = false;
        self.fonts.push(font);
        roff.font(font);
    }

    fn pop_font(&mut self, roff: &mut Roff) {
        self.fonts.pop();
        roff.font(self.font());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn roff(markdown: &str) -> String {
        let mut roff = Roff::default();
        roff.markdown(markdown).unwrap();
        roff.finish()
    }

    #[test]
    fn what_roff_would_change_is_escaped() {
        assert_eq!(
            escape(r#"a\b 'c' "d" `e` ^~"#, false),
            r"a\eb \(aqc\(aq \(dqd\(dq \(gae\(ga \(ha\(ti"
        );
        assert_eq!(escape("a → ö", false), "a \\[u2192] \\[u00F6]");
    }

    #[test]
    fn hyphens_are_hyphens_in_words_only() {
        assert_eq!(
            escape("wake-up -t --json - 1-2", false),
            r"wake-up \-t \-\-json \- 1-2"
        );
        assert_eq!(escape("wake-up", true), r"wake\-up");
        assert_eq!(roff("`a-b` a-b\n"), ".PP\n\\fBa\\-b\\fR a-b\n");
    }

    #[test]
    fn no_line_of_text_is_a_request() {
        assert_eq!(roff("a\n.b\n'c\n"), ".PP\na\n\\&.b\n\\(aqc\n");
        assert_eq!(
            roff("```\n.x\n\n  'y\n```\n"),
            ".PP\n.RS 4\n.EX\n\\&.x\n\n  \\(aqy\n.EE\n.RE\n"
        );
    }

    #[test]
    fn headings_begin_sections() {
        assert_eq!(
            roff("# Time in *state*\n\nText.\n\n## The `-Y` fields\n\n- a\n"),
            ".SH TIME IN STATE\nText.\n.SS The \\-Y fields\n.IP \\(bu 4\na\n"
        );
    }

    #[test]
    fn fonts_nest() {
        assert_eq!(
            roff("a **b *c* `d` e** f\n"),
            ".PP\na \\fBb \\fIc\\fB \\fBd\\fB e\\fR f\n"
        );
    }

    #[test]
    fn lists_nest_and_have_paragraphs() {
        assert_eq!(
            roff("Text:\n\n- a\n  b\n  - `c`\n- d\n\nText.\n"),
            ".PP\nText:\n.IP \\(bu 4\na\nb\n.RS 4\n.IP \\(bu 4\n\\fBc\\fR\n.RE\n.IP \\(bu 4\nd\n.PP\nText.\n"
        );
        assert_eq!(
            roff("1. a\n\n   b\n2. c\n"),
            ".IP 1. 4\na\n.IP\nb\n.IP 2. 4\nc\n"
        );
    }

    #[test]
    fn the_last_column_of_a_table_is_filled() {
        assert_eq!(
            roff("| A | N | B |\n|---|--:|---|\n| `a-b` | 1 | .c \\| T} |\n| _ | 2 | T} |\n"),
            ".TS\nnokeep;\nl r lx.\n\\fBA\\fR\t\\fBN\\fR\t\\fBB\\fR\n\
             \\fBa\\-b\\fR\t1\tT{\n\\&.c | T}\nT}\n\
             \\&_\t2\tT{\n\\&T}\nT}\n.TE\n"
        );
    }

    #[test]
    fn links_show_where_they_lead() {
        assert_eq!(
            roff("See [this](https://example.org/a-b).\n"),
            ".PP\nSee this <\\fIhttps://example.org/a\\-b\\fR>.\n"
        );
    }

    #[test]
    fn what_has_no_form_is_an_error() {
        for bad in [
            "![image](x.png)\n",
            "### Deep\n",
            "> quote\n",
            "<b>html</b>\n",
            "---\n",
        ] {
            assert!(Roff::default().markdown(bad).is_err(), "{bad}");
        }
        assert_eq!(roff("<!-- a comment -->\n\nText.\n"), ".PP\nText.\n");
    }
}
