//! Formats the story as text.

use super::{
    super::{
        table::{Cell, Table},
        words::{after, counted, one_line, span, until},
    },
    story::Story,
};

/// The story as text, without a final line break.
pub(super) fn text(story: &Story, colours: bool) -> String {
    let mut parts = vec![head(story, colours)];
    parts.push(section("Timeline", &timeline(story, colours)));
    if story.row.view.ended_at.is_none() {
        parts.push(section("Missing", &missing(story)));
    }
    if !story.dead_letters.is_empty() || !story.dead_letters_elsewhere.is_empty() {
        parts.push(section("Dead letters", &letters(story)));
    }
    if !story.steps.is_empty() {
        parts.push(section("Steps, as the participants keep them", &steps(story)));
    }
    if !story.operations.is_empty() {
        let title = format!("What an operator can do, by a call of service {}", story.row.service);
        parts.push(section(&title, &operations(story)));
    }
    parts.join("\n\n")
}

fn section(title: &str, lines: &str) -> String {
    format!("{title}\n{lines}")
}

fn head(story: &Story, colours: bool) -> String {
    let (row, view, now) = (&story.row, &story.row.view, story.now);
    let mut table = Table::indented(2);
    let mut say = |what: &str, cell: Cell| table.row([what.into(), cell]);
    let began = format!("{} ago, {}", span(now.since(view.started_at)), view.started_at);
    say("state", view.state.as_str().into());
    say("began", began.into());
    say("moved", format!("{} ago, {}", span(now.since(view.updated_at)), view.updated_at).into());
    if let Some(ended) = view.ended_at {
        say("ended", format!("after {}, {ended}", span(ended.since(view.started_at))).into());
    }
    if let Some(deadline) = view.deadline {
        say("deadline", Cell::alarming(format!("{}, {deadline}", until(deadline, now)), deadline <= now));
    }
    if row.due != view.deadline
        && let Some(due) = row.due
    {
        say("next timer", Cell::alarming(format!("{}, {due}", row.deadline(now)), row.overdue));
    }
    if let Some(attention) = &view.attention {
        say("attention", Cell::alarming(attention, true));
    }
    if view.not_allowed > 0 {
        let events = counted(view.not_allowed.into(), "event", "events");
        say("not allowed", Cell::alarming(format!("{events}, listed in the timeline"), true));
    }
    say("correlation", view.correlation_id.as_str().into());
    let title = format!("{} {}, version {}, tracked by {}", view.saga, view.saga_id, view.version, row.service);
    format!("{}\n{}", one_line(&title), table.show(colours))
}

fn timeline(story: &Story, colours: bool) -> String {
    if story.timeline.is_empty() {
        return "  no entries".to_owned();
    }
    let start = story.row.view.started_at;
    let mut table = Table::indented(2);
    for moment in &story.timeline {
        let note = Cell::alarming(moment.note.as_deref().unwrap_or_default(), moment.note.is_some());
        table.row([after(start, moment.at).into(), moment.event.as_str().into(), format!("by {}", moment.source).into(), note]);
    }
    table.show(colours)
}

fn missing(story: &Story) -> String {
    let Some(missing) = &story.missing else {
        return format!(
            "  version {} of the saga is not known here, and so the next steps are not known either; the service that tracks the saga \
             writes its definition when it starts",
            story.row.view.version
        );
    };
    if missing.is_empty() {
        return "  nothing: the events so far trigger no step; the deadline or an operator ends the instance".to_owned();
    }
    let lines = missing.iter().map(|missing| match &missing.remark {
        Some(remark) => format!("  {}\n    {}", one_line(&missing.said()), one_line(remark)),
        None => format!("  {}", one_line(&missing.said())),
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn letters(story: &Story) -> String {
    let mut table = Table::indented(2);
    for letter in &story.dead_letters {
        let attempts = counted(letter.attempts.into(), "attempt", "attempts");
        table.row([
            letter.service.as_str().into(),
            letter.id.as_str().into(),
            letter.event.as_deref().unwrap_or("?").into(),
            letter.state.into(),
            format!("{} ago, after {attempts}", span(story.now.since(letter.at))).into(),
            letter.error.as_str().into(),
        ]);
    }
    for (service, id) in &story.dead_letters_elsewhere {
        let unread = "blocks the instance, and was not found: the database of that service was not read, or it has forgotten it";
        table.row([service.as_str().into(), id.as_str().into(), unread.into()]);
    }
    let shown = table.show(false);
    match story.row.view.ended_at {
        Some(_) => format!("{shown}\n  the saga has ended without them: check what a retry would still do, or discard them"),
        None => shown,
    }
}

fn steps(story: &Story) -> String {
    let start = story.row.view.started_at;
    let mut table = Table::indented(2);
    for step in &story.steps {
        let attempt = step.until.map(|end| match end > story.now {
            true => format!("an attempt may be running for another {}", span(end.since(story.now))),
            false => format!("the time of an attempt was over {} ago", span(story.now.since(end))),
        });
        table.row([
            step.service.as_str().into(),
            step.step.as_str().into(),
            step.state.as_str().into(),
            after(start, step.at).into(),
            format!("on {}", step.message_id).into(),
            attempt.unwrap_or_default().into(),
        ]);
    }
    table.show(false)
}

fn operations(story: &Story) -> String {
    let mut table = Table::indented(2);
    for operation in &story.operations {
        let call = format!("{} {}", operation.method, operation.path);
        table.row([call.into(), operation.body.as_str().into(), operation.does.as_str().into()]);
    }
    table.show(false)
}
