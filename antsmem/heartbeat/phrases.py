"""The words for time that a heading may consist of, in English, Spanish, Portuguese, German, Chinese and Japanese.

A table, not a grammar: what is not in it is left to the agent. All of it is in the form that `cadence.plain`
gives: lower case, no accents, `-` for every dash, one space.
"""

from __future__ import annotations

from typing import Final

from antsmem.heartbeat.schedule import (
    DAY,
    EVERY_DAY,
    HOUR,
    MINUTE,
    WEEK,
    WEEKEND,
    WORKDAYS,
    Days,
    Every,
    Schedule,
)


def _of(*languages: str) -> tuple[str, ...]:
    """The phrases in lines of `phrase|phrase`, one line or more a language."""
    return tuple(phrase for language in languages for phrase in language.split("|"))


TICKS: Final = frozenset(
    f"{every} {tick}"
    for every in _of("every|each|on every|on each|always on every|cada|en cada|a cada|bei jedem")
    for tick in _of("heartbeat|tick|beat|wake|wake-up|latido")
) | frozenset(
    _of(
        "always check",
        "jeder heartbeat|jeden heartbeat",
        "每次心跳|每次心跳时|每个心跳|每次 heartbeat|每次heartbeat|每 heartbeat",
        "毎ハートビート|毎回のハートビート|ハートビートごと|ハートビート毎|毎回",
    )
)
"""Headings that say what holds anyway."""

UNITS: Final = {
    **dict.fromkeys(_of("m|min|mins|minute|minutes|minuto|minutos|minuten|分|分钟|分鐘|分間"), MINUTE),
    **dict.fromkeys(_of("h|hr|hrs|hour|hours|hora|horas|stunde|stunden|std"), HOUR),
    **dict.fromkeys(_of("小时|小時|个小时|個小時|钟头", "時間"), HOUR),
    **dict.fromkeys(_of("d|day|days|dia|dias|tag|tage|tagen|天|日|日間"), DAY),
    **dict.fromkeys(_of("w|week|weeks|semana|semanas|woche|wochen|周|週|星期|週間"), WEEK),
}

COUNTS: Final = {
    word: count
    for count, words in {
        1: "one|一",
        2: "two|dos|duas|zwei|二|两|兩",
        3: "three|tres|drei|三",
        4: "four|cuatro|quatro|vier|四",
        5: "five|五",
        6: "six|seis|sechs|六",
        8: "eight|ocho|oito|acht|八",
        10: "ten|十",
        12: "twelve|doce|doze|zwolf",
    }.items()
    for word in words.split("|")
}

EVERY: Final = _of("once every|every|each", "cada", "a cada", "alle", "每", "毎")
"""Before a count and a unit."""

AFTER_ALONE: Final = _of("ごとに|ごと|毎に|毎")
"""Behind a count and a unit, where nothing need stand before them."""

AFTER: Final = AFTER_ALONE + _of("检查一次|轮询一次|执行一次|一次|检查|轮询|执行")
"""Behind a count and a unit."""

_PERIODS: Final[tuple[tuple[Schedule, tuple[str, ...]], ...]] = (
    (
        Days(EVERY_DAY),
        _of(
            "daily|every day|each day|everyday|once a day|once daily|once per day",
            "diario|diaria|diariamente|cada dia|a diario|todos los dias|una vez al dia|tareas diarias",
            "todo dia|todos os dias|uma vez por dia|tarefas diarias",
            "taglich|jeden tag|einmal am tag|einmal taglich|tagliche aufgaben",
            "每天|每日|每天一次|每日一次|每日任务|每日检查|每天检查|每日例行",
            "毎日|毎日のタスク|日次|1日1回|一日一回",
        ),
    ),
    (
        Days(span="week"),
        _of(
            "weekly|every week|each week|once a week|once per week",
            "semanal|semanalmente|cada semana|todas las semanas|una vez por semana|una vez a la semana"
            "|tareas semanales",
            "toda semana|todas as semanas|uma vez por semana|tarefas semanais",
            "wochentlich|jede woche|einmal pro woche|einmal die woche|wochentliche aufgaben",
            "每周|每星期|每週|每周一次|每周任务|每周检查",
            "毎週|毎週のタスク|週次|週1回|週に1回",
        ),
    ),
    (
        Days(span="month"),
        _of(
            "monthly|every month|each month|once a month|once per month",
            "mensual|mensualmente|cada mes|todos los meses|una vez al mes|tareas mensuales",
            "mensal|mensalmente|todo mes|todos os meses|uma vez por mes|tarefas mensais",
            "monatlich|jeden monat|einmal im monat|monatliche aufgaben",
            "每月|每个月|每月一次|每月任务",
            "毎月|毎月のタスク|月次",
        ),
    ),
    (
        Days(WORKDAYS),
        _of(
            "weekdays|weekday|every weekday|each weekday|on weekdays|mon-fri|mon - fri|monday-friday"
            "|monday - friday|monday to friday|monday through friday",
            "lunes a viernes|de lunes a viernes|dias laborables|lunes-viernes",
            "segunda a sexta|de segunda a sexta|segunda-sexta|dias uteis",
            "mo-fr|mo - fr|montag-freitag|montag bis freitag",
            "工作日|每个工作日|周一至周五|周一到周五|星期一至星期五|週一至週五",
            "平日|月-金|月曜-金曜|月曜日から金曜日",
        ),
    ),
    (
        Days(WEEKEND),
        _of(
            "weekends|weekend|every weekend|on weekends|sat-sun|saturday and sunday",
            "fines de semana|fin de semana|los fines de semana",
            "fins de semana|fim de semana",
            "wochenende|am wochenende",
            "周末|每周末",
            "週末|毎週末|土日",
        ),
    ),
    (
        Every(HOUR),
        _of(
            "hourly|every hour|each hour|once an hour",
            "cada hora|por hora|una vez por hora",
            "a cada hora|toda hora|uma vez por hora",
            "stundlich|jede stunde|einmal pro stunde",
            "每小时|每小時|每个小时|每小时一次",
            "毎時|毎時間",
        ),
    ),
    (
        Every(30 * MINUTE),
        _of(
            "every half hour|every half an hour|half-hourly",
            "cada media hora",
            "a cada meia hora",
            "jede halbe stunde|alle halbe stunde|halbstundlich",
            "每半小时|每半个小时|每半小時",
        ),
    ),
)
_TASKS: Final = _of("tasks|task|checks|check|jobs|routine|routines")

PERIODS: Final[dict[str, Schedule]] = {
    **{phrase: schedule for schedule, said in _PERIODS for phrase in said},
    **{
        f"{phrase} {task}": schedule
        for schedule, said in _PERIODS
        for phrase in said
        if phrase in {"daily", "weekly", "monthly", "weekday", "weekend", "hourly"}
        for task in _TASKS
    },
}
"""Whole phrases without a time of day."""

_NAMES: Final = (
    "monday|mondays|mon|lunes|segunda|segundas|segunda-feira|montag|montags|周一|星期一|礼拜一|週一|月曜|月曜日",
    "tuesday|tuesdays|tue|tues|martes|terca|tercas|terca-feira|dienstag|dienstags|周二|星期二|礼拜二|週二"
    "|火曜|火曜日",
    "wednesday|wednesdays|wed|miercoles|quarta|quartas|quarta-feira|mittwoch|mittwochs|周三|星期三|礼拜三|週三"
    "|水曜|水曜日",
    "thursday|thursdays|thu|thur|thurs|jueves|quinta|quintas|quinta-feira|donnerstag|donnerstags|周四|星期四"
    "|礼拜四|週四|木曜|木曜日",
    "friday|fridays|fri|viernes|sexta|sextas|sexta-feira|freitag|freitags|周五|星期五|礼拜五|週五|金曜|金曜日",
    "saturday|saturdays|sat|sabado|sabados|samstag|samstags|sonnabend|周六|星期六|礼拜六|週六|土曜|土曜日",
    "sunday|sundays|sun|domingo|domingos|sonntag|sonntags|周日|周天|星期日|星期天|礼拜天|週日|日曜|日曜日",
)
DAYS: Final = {name: day for day, names in enumerate(_NAMES) for name in names.split("|")}

OTHER_MEANINGS: Final = frozenset(_of("sun|sat|mon|wed", "segunda|terca|quarta|quinta|sexta"))
"""Names of days that mean something else where they stand alone: a star, past tense, a second."""

BEFORE_DAYS: Final = _of(
    "every|each|on|weekly on|weekly",
    "todos los|cada|los|el|semanal",
    "todas as|toda|as",
    "wochentlich|jeden|am",
    "每周|每",
    "毎週|毎",
)
"""What may stand before the names of days."""

BEFORE_TIMES: Final = _of("at|@", "a las|a la", "as", "um", "在|于")
BETWEEN: Final = _of(",|/|&|+|;|、|・", "and|y|e|und|和|及|与|と", ", and|, y|, e|, und")
"""Between two times or two days."""

WORDS: Final = frozenset(
    _of(
        "every|each|hourly|daily|nightly|weekly|biweekly|fortnightly|monthly|yearly|annually|quarterly",
        "weekday|weekdays|weekend|weekends|times|twice|once|around|about|approx|approximately",
        "except|between|until|since|last|updated|started|ended|ultima|ultimo|letzte|letzter",
        "cada|diario|diaria|diariamente|semanal|mensual|mensal|veces|vezes",
        "alle|jede|jeden|jeder|taglich|wochentlich|monatlich|stundlich",
    )
) | frozenset(name for name in DAYS if len(name) > 4 and name.isascii())
"""Words by which the rest of a heading may say something else about time than its last bracket."""

SIGNS: Final = "每毎周週次回曜~"
"""The same, where words are not set apart."""

AGREEING: Final = {
    "day": frozenset(_of("daily|nightly|diario|diaria|diariamente|taglich")),
    "week": frozenset(_of("weekly|semanal|wochentlich|周|週")),
    "month": frozenset(_of("monthly|mensual|mensal|monatlich")),
    "weekdays": frozenset(_of("weekday|weekdays")),
    "hour": frozenset(_of("hourly|stundlich")),
}
"""Those that say no more than the bracket does: `Daily review (9:00)`."""
