//! `rkctl dashboard`: a page of the terminal about one node, looked at every two seconds.

use crate::args::Global;
use crate::connect::{Client, Trust, connect};
use crate::exit::{Class, Failure, words};
use crate::node::{Question, ask, known};
use crate::output::bytes;
use anyhow::Result;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind};
use ratatui::layout::{Constraint, Layout};
use ratatui::style::{Color, Style};
use ratatui::text::Line;
use ratatui::widgets::{Block, Gauge, Paragraph, Row, Table};
use ratatui::{DefaultTerminal, Frame};
use rk_machine_proto::v1::EventsRequest;
use serde_json::Value;
use std::time::Duration;

const LOOK: Duration = Duration::from_secs(2);
/// Keys are heard this often between looks.
const KEYS: Duration = Duration::from_millis(100);
const MOST_EVENTS: usize = 200;
const AWAY: &str = "the node does not answer";

/// What is shown.
#[derive(Debug, Clone, Default)]
struct Page {
    node: String,
    version: Value,
    health: Value,
    services: Value,
    memory: Value,
    cpu: Value,
    events: Vec<String>,
    trouble: String,
}

/// A node, and the way to it.
struct Link {
    node: String,
    trust: Trust,
    client: Client,
}

/// Where an answer is kept.
type Field = fn(&mut Page) -> &mut Value;

/// Shows the page until q is pressed.
///
/// # Errors
/// No node or several are named, or this is no terminal.
pub async fn run(global: &Global) -> Result<Class> {
    let (trust, nodes) = known(global)?;
    let [node] = nodes.as_slice() else {
        return Err(Failure::new(Class::Usage, "a dashboard is of one node: name it with -n").into());
    };
    let client = connect(node, &trust).await?;
    let mut link = Link { node: node.clone(), trust, client };
    let mut page = Page { node: node.clone(), ..Page::default() };
    let mut terminal = ratatui::try_init()?;
    let shown = show(&mut terminal, &mut link, &mut page, global.timeout).await;
    ratatui::restore();
    shown.map(|()| Class::Good)
}

/// Looks, draws and waits until the operator wants to go, who is heard while a node does not answer, too.
async fn show(terminal: &mut DefaultTerminal, link: &mut Link, page: &mut Page, limit: Duration) -> Result<()> {
    loop {
        let gone = tokio::select! {
            gone = quit_within(limit) => {
                AWAY.clone_into(&mut page.trouble);
                gone?
            }
            () = look(link, page) => false,
        };
        terminal.draw(|frame| draw(frame, page))?;
        if gone || quit_within(LOOK).await? {
            return Ok(());
        }
    }
}

/// Waits; `true` when the operator wants to go.
async fn quit_within(time: Duration) -> Result<bool> {
    let end = tokio::time::Instant::now() + time;
    while tokio::time::Instant::now() < end {
        while event::poll(Duration::ZERO)? {
            if let Event::Key(key) = event::read()?
                && key.kind == KeyEventKind::Press
            {
                let control_c = key.code == KeyCode::Char('c') && key.modifiers.contains(event::KeyModifiers::CONTROL);
                if control_c || [KeyCode::Char('q'), KeyCode::Esc].contains(&key.code) {
                    return Ok(true);
                }
            }
        }
        tokio::time::sleep(KEYS).await;
    }
    Ok(false)
}

/// Asks for everything; over a new connection when something was wrong the last time, for the machine may have restarted.
async fn look(link: &mut Link, page: &mut Page) {
    if !std::mem::take(&mut page.trouble).is_empty() {
        match connect(&link.node, &link.trust).await {
            Ok(client) => link.client = client,
            Err(err) => {
                page.trouble = words(&err);
                return;
            }
        }
    }
    let client = &mut link.client;
    let fields: [(Question, Field); 5] = [
        (Question::Version, |page| &mut page.version),
        (Question::Health, |page| &mut page.health),
        (Question::Services, |page| &mut page.services),
        (Question::Memory, |page| &mut page.memory),
        (Question::Cpu, |page| &mut page.cpu),
    ];
    for (question, field) in fields {
        match ask(client, &question).await {
            Ok(value) => *field(page) = value,
            Err(err) => page.trouble = words(&err),
        }
    }
    if let Ok(response) = client.events(EventsRequest { follow: false }).await {
        let mut stream = response.into_inner();
        page.events.clear();
        while let Ok(Some(event)) = stream.message().await {
            page.events.push(format!(
                "{:>6}.{:03} {}",
                event.boot_millis / 1000,
                event.boot_millis % 1000,
                event.message
            ));
            if page.events.len() > MOST_EVENTS {
                page.events.remove(0);
            }
        }
    }
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value.get(field).and_then(Value::as_str).unwrap_or_default()
}

fn number(value: &Value, field: &str) -> u64 {
    value.get(field).and_then(Value::as_u64).unwrap_or(0)
}

fn rows<'a>(value: &'a Value, field: &str) -> impl Iterator<Item = &'a Value> {
    value.get(field).and_then(Value::as_array).into_iter().flatten()
}

fn draw(frame: &mut Frame<'_>, page: &Page) {
    let services = rows(&page.services, "services").count().clamp(3, 8) as u16 + 3;
    let checks = rows(&page.health, "checks").count().clamp(3, 12) as u16 + 2;
    let [head, gauges, middle, health, events] = Layout::vertical([
        Constraint::Length(2),
        Constraint::Length(3),
        Constraint::Length(services),
        Constraint::Length(checks),
        Constraint::Min(3),
    ])
    .areas(frame.area());
    let [left, right] = Layout::horizontal([Constraint::Ratio(1, 2); 2]).areas(gauges);
    frame.render_widget(heading(page), head);
    frame.render_widget(memory_gauge(page), left);
    frame.render_widget(processor_gauge(page), right);
    frame.render_widget(service_table(page), middle);
    frame.render_widget(check_list(page), health);
    frame.render_widget(event_list(page, events.height), events);
}

fn heading(page: &Page) -> Paragraph<'static> {
    let version = &page.version;
    let title = format!(
        "{}  rk {}  kernel {}  up {} s  {}",
        text(version, "hostname"),
        text(version, "version"),
        text(version, "kernel"),
        number(&page.cpu, "uptime_seconds"),
        page.node
    );
    let state = if page.trouble.is_empty() { "q ends".to_owned() } else { page.trouble.clone() };
    Paragraph::new(vec![Line::from(title), Line::from(state)])
}

fn memory_gauge(page: &Page) -> Gauge<'static> {
    let (total, free) = (number(&page.memory, "total_bytes"), number(&page.memory, "available_bytes"));
    let used = total.saturating_sub(free);
    let share = if total == 0 { 0.0 } else { used as f64 / total as f64 };
    let label = format!("{} of {}", bytes(used), bytes(total));
    Gauge::default().block(Block::bordered().title("memory")).ratio(share.clamp(0.0, 1.0)).label(label)
}

fn processor_gauge(page: &Page) -> Gauge<'static> {
    let load = page.cpu.get("load_1").and_then(Value::as_f64).unwrap_or(0.0);
    let cores = number(&page.cpu, "cores").max(1);
    let ratio = (load / cores as f64).clamp(0.0, 1.0);
    let label = format!("load {load:.2} on {cores}");
    Gauge::default().block(Block::bordered().title("processors")).ratio(ratio).label(label)
}

fn service_table(page: &Page) -> Table<'static> {
    let lines = rows(&page.services, "services").map(|service| {
        let color = if text(service, "state") == "running" { Color::Green } else { Color::Red };
        let cells = [
            text(service, "name").to_owned(),
            text(service, "state").to_owned(),
            number(service, "uptime_seconds").to_string(),
            number(service, "starts").to_string(),
            text(service, "last_exit").to_owned(),
        ];
        Row::new(cells).style(Style::default().fg(color))
    });
    let widths = [
        Constraint::Length(10),
        Constraint::Length(10),
        Constraint::Length(10),
        Constraint::Length(8),
        Constraint::Min(10),
    ];
    Table::new(lines, widths)
        .header(Row::new(["service", "state", "seconds", "starts", "last exit"]))
        .block(Block::bordered().title("services"))
}

fn check_list(page: &Page) -> Paragraph<'static> {
    let line = |check: &Value| {
        let (word, color) = match check.get("ok") {
            Some(Value::Bool(true)) => ("ok  ", Color::Reset),
            _ => ("WRONG", Color::Red),
        };
        let line = format!("{word} {:<18} {}", text(check, "name"), text(check, "message"));
        Line::styled(line, Style::default().fg(color))
    };
    let lines: Vec<Line<'static>> = rows(&page.health, "checks").map(line).collect();
    Paragraph::new(lines).block(Block::bordered().title("health"))
}

/// As many of the latest events as `height` has room for, within its border.
fn event_list(page: &Page, height: u16) -> Paragraph<'_> {
    let room = usize::from(height.saturating_sub(2));
    let latest = page.events.iter().skip(page.events.len().saturating_sub(room)).map(|line| Line::from(line.as_str()));
    Paragraph::new(latest.collect::<Vec<_>>()).block(Block::bordered().title("events"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;
    use serde_json::json;

    fn shown(page: &Page, width: u16, height: u16) -> String {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| draw(frame, page)).unwrap();
        let buffer = terminal.backend().buffer();
        buffer
            .content()
            .chunks(usize::from(width))
            .map(|line| line.iter().map(|cell| cell.symbol()).collect::<String>() + "\n")
            .collect()
    }

    #[test]
    fn the_page_shows_services_health_and_events_and_fits_small_terminals() {
        let page = Page {
            version: json!({"hostname": "n1", "version": "0.1.0"}),
            services: json!({"services": [{"name": "node", "state": "waiting", "last_exit": "with code 1"}]}),
            health: json!({"checks": [{"name": "time", "ok": false, "message": "no time server"}]}),
            memory: json!({"total_bytes": 1 << 30, "available_bytes": 1 << 29}),
            events: vec!["1.000 netd started".to_owned()],
            ..Page::default()
        };
        let text = shown(&page, 100, 30);
        for wanted in ["n1", "with code 1", "no time server", "512.0 MiB of 1.0 GiB", "netd started"] {
            assert!(text.contains(wanted), "{wanted}:\n{text}");
        }
        shown(&page, 10, 4);
        shown(&Page::default(), 80, 24);
    }
}
