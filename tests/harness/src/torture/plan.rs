//! What each client does, in which order: a function of the seed alone.

use super::{
    operation::{
        Close, End, Kill, Leave, Manner, Moment, Operation, Parameter, Part, Short, Text, Turn,
        Victim,
    },
    size,
    world::REPLICAS,
};
use crate::{pattern::Random, wire::Pace};
use std::time::Duration;

/// One client's operations, without end.
#[derive(Debug, Clone)]
pub struct Plan {
    random: Random,
    /// No size is larger. On lossy links it is small: TCP needs seconds for a megabyte there.
    largest: usize,
}

/// Eight statements of so many bytes are a short text.
const SHORT_BYTES: usize = 400;
/// How many local ports a client's short connections share.
pub const PORTS: usize = 8;

impl Plan {
    /// The plan of this client in a run of this seed.
    pub fn new(seed: u64, client: usize, largest: usize) -> Self {
        let client = u64::try_from(client).unwrap_or(u64::MAX);
        // The first numbers of neighbouring seeds are alike.
        let mut random = Random::new(seed.wrapping_mul(1009).wrapping_add(client).wrapping_mul(2));
        for _ in 0..8 {
            random.word();
        }
        Self { random, largest }
    }

    fn below(&mut self, bound: usize) -> usize {
        self.random.below(bound)
    }

    fn is(&mut self, one_in: usize) -> bool {
        self.below(one_in) == 0
    }

    fn size(&mut self) -> usize {
        size::draw(&mut self.random, self.largest)
    }

    fn text(&mut self, bytes: usize) -> Text {
        Text {
            bytes: bytes.min(self.largest),
            seed: self.random.word(),
        }
    }

    fn sized_text(&mut self) -> Text {
        let bytes = self.size();
        self.text(bytes)
    }

    /// Of a part of something larger.
    fn part_text(&mut self) -> Text {
        let bytes = match self.below(12) {
            0 => self.below(200_000),
            1 | 2 => self.size().min(300_000),
            _ => self.below(1500),
        };
        self.text(bytes)
    }

    fn manner(&mut self) -> Manner {
        let mut manner = Manner::default();
        if self.is(5) {
            manner.cuts = (0..=self.below(4)).map(|_| self.below(1001)).collect();
            manner.cuts.sort_unstable();
            if self.is(2) {
                manner.pause = self.millis(4);
            }
        }
        if self.is(12) {
            manner.stall = self.millis(60);
        } else if self.is(200) {
            manner.stall = self.millis(2000);
        }
        if self.is(15) {
            manner.pace = Some(Pace {
                bytes: 2000 + self.below(60_000),
                pause: Duration::from_micros(self.word_below(2000)),
            });
        }
        manner
    }

    fn word_below(&mut self, bound: usize) -> u64 {
        u64::try_from(self.below(bound)).unwrap_or(0)
    }

    fn millis(&mut self, bound: usize) -> Duration {
        Duration::from_millis(self.word_below(bound))
    }

    fn query(&mut self) -> Operation {
        let manner = self.manner();
        match self.below(10) {
            0..5 => Operation::Echo(self.sized_text(), manner),
            5 | 6 => Operation::Grow {
                period: {
                    let bytes = 1 + self.below(3000);
                    self.text(bytes)
                },
                bytes: size::cell_of_row(self.size()),
                manner,
            },
            _ => self.rows(manner),
        }
    }

    fn rows(&mut self, manner: Manner) -> Operation {
        let (rows, width) = match self.below(20) {
            0 => (1 + self.below(20_000), self.below(20)),
            1 => (1 + self.below(40), self.below(9000)),
            2 => (1 + self.below(4), self.below(40_000)),
            3..8 => (1 + self.below(2000), self.below(12)),
            _ => (1 + self.below(20), self.below(80)),
        };
        let rows = rows.min(1 + self.largest / (8 * width + 16));
        Operation::Rows {
            rows,
            width,
            binary: self.is(3),
            error_at: self.is(6).then(|| 1 + self.below(rows)),
            manner,
        }
    }

    fn turns(&mut self) -> Operation {
        let turn = |plan: &mut Self| match plan.below(10) {
            0..3 => Turn::Node,
            3 => Turn::NodeInTransaction,
            4 | 5 => Turn::Echo(plan.part_text()),
            6 | 7 => Turn::Lead(1 + plan.below(REPLICAS), plan.part_text()),
            _ => Turn::EchoAtPrimary(plan.part_text()),
        };
        let count = 2 + self.below(20);
        Operation::Turns((0..count).map(|_| turn(self)).collect())
    }

    fn prepared(&mut self) -> Operation {
        let parameters = 1 + self.below(3);
        let executions = 1 + self.below(4);
        Operation::Prepared {
            executions: (0..executions)
                .map(|_| (0..parameters).map(|_| self.parameter()).collect())
                .collect(),
            close: match self.below(3) {
                0 => Close::After,
                1 => Close::Behind,
                _ => Close::BeforeNext,
            },
        }
    }

    fn parameter(&mut self) -> Parameter {
        Parameter {
            text: if self.is(4) {
                self.sized_text()
            } else {
                self.part_text()
            },
            pieces: if self.is(3) { 1 + self.below(4) } else { 0 },
        }
    }

    fn parts(&mut self, in_pipeline: bool) -> Vec<Part> {
        let count = 2 + self.below(7);
        let part = |plan: &mut Self| match plan.below(if in_pipeline { 16 } else { 14 }) {
            0..6 => Part::Echo(plan.part_text()),
            6 | 7 => Part::Set(plan.random.word() >> 1),
            8 | 9 => Part::Look,
            10 => Part::Nothing,
            11 | 12 => Part::Rows(1 + plan.below(300), plan.below(20)),
            13 => Part::Fail,
            _ => Part::Execute(plan.part_text()),
        };
        (0..count).map(|_| part(self)).collect()
    }

    /// Statements of one text. What a long text sets is not noticed (README, "Limits"): one that sets something is short.
    fn batch(&mut self) -> Vec<Part> {
        let mut parts = self.parts(false);
        if parts.iter().any(|part| matches!(part, Part::Set(_))) {
            for part in &mut parts {
                if let Part::Echo(text) = part {
                    text.bytes = text.bytes.min(SHORT_BYTES);
                }
            }
        }
        parts
    }

    fn transaction(&mut self) -> Operation {
        let rows = (0..=self.below(4)).map(|_| self.part_text()).collect();
        let end = if self.is(2) {
            End::Commit
        } else {
            End::Rollback
        };
        Operation::Transaction(rows, end)
    }

    fn kill(&mut self) -> Operation {
        let kill = match self.below(8) {
            0..3 => Kill::Query,
            3 | 4 => Kill::Session,
            5 | 6 => Kill::ServerSession,
            _ => Kill::AtNode,
        };
        let victim = match self.below(5) {
            0 | 1 => Victim::Rows(1 + self.below(4000), self.below(200)),
            2 => Victim::Sleeps(self.below(300)),
            _ => Victim::Points(1 + self.below(60)),
        };
        Operation::Kill(kill, victim, self.word_below(20_000))
    }

    fn abort(&mut self) -> Operation {
        let moment = match self.below(8) {
            0 => Moment::Connected,
            1 => Moment::LoggingIn,
            2 => Moment::Idle,
            3 | 4 => Moment::Command,
            _ => Moment::Answer(self.below(3_000_000).min(self.largest)),
        };
        let leave = self.leave();
        Operation::Abort(moment, leave)
    }

    fn leave(&mut self) -> Leave {
        match self.below(4) {
            0 => Leave::Fin,
            1 => Leave::Reset,
            2 => Leave::Half,
            _ => Leave::Quit,
        }
    }

    fn shorts(&mut self) -> Operation {
        let short = |plan: &mut Self| Short {
            port: plan.below(PORTS),
            commands: plan.below(3),
            leave: if plan.is(3) {
                Leave::Reset
            } else {
                Leave::Quit
            },
        };
        let count = 5 + self.below(30);
        Operation::Shorts((0..count).map(|_| short(self)).collect())
    }

    fn session(&mut self) -> Operation {
        match self.below(12) {
            0 => Operation::Reset,
            1 => Operation::ChangeUser,
            2 => Operation::Database(self.is(2)),
            3 | 4 => Operation::Reconnect(self.leave(), self.is(2)),
            5 | 6 => Operation::SetSystem(self.word_below(20)),
            7 | 8 => Operation::LookAtSystem,
            9 => Operation::SetVariable(self.random.word() >> 1),
            _ => Operation::LookAtVariable,
        }
    }

    fn table(&mut self) -> Operation {
        match self.below(20) {
            0..6 => Operation::Insert(self.part_text()),
            6..9 => Operation::ReadBack(self.below(1000)),
            9..12 => Operation::CheckTable,
            12 => Operation::Empty,
            13 => Operation::Infile(self.below(3000), self.random.word()),
            _ => self.transaction(),
        }
    }
}

impl Iterator for Plan {
    type Item = Operation;

    fn next(&mut self) -> Option<Operation> {
        Some(match self.below(1000) {
            0..360 => self.query(),
            360..390 => self.turns(),
            390..490 => self.prepared(),
            490..570 => Operation::Pipeline(self.parts(true), self.manner()),
            570..610 => Operation::Multi(self.batch(), self.manner()),
            610..740 => self.session(),
            740..850 => self.table(),
            850..880 => Operation::Compare(self.below(1000)),
            880..900 => Operation::Ask(self.below(1000)),
            900..920 => Operation::Fail(self.below(1000)),
            920..935 => Operation::Tiny(self.below(1000)),
            935..960 => self.kill(),
            960..975 => self.abort(),
            975..995 => self.shorts(),
            _ => Operation::Grow {
                period: self.text(997),
                bytes: size::cell_of_row(self.size() + self.largest.min(5_000_000)),
                manner: Manner {
                    stall: self.millis(3000),
                    ..self.manner()
                },
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    const LARGEST: usize = 40 << 20;

    #[test]
    fn a_seed_is_a_plan() {
        let plan = |seed, client| {
            Plan::new(seed, client, LARGEST)
                .take(300)
                .collect::<Vec<_>>()
        };
        assert_eq!(plan(1, 0), plan(1, 0));
        assert_ne!(plan(1, 0), plan(1, 1));
        assert_ne!(plan(1, 0), plan(2, 0));
    }

    #[test]
    fn every_kind_comes_soon() {
        let kinds: BTreeSet<_> = Plan::new(3, 0, LARGEST)
            .take(3000)
            .map(|operation| operation.kind())
            .collect();
        let wanted = [
            "abort",
            "ask proxy",
            "binary rows",
            "compare",
            "echo",
            "error",
            "error in mid-result",
            "grow",
            "infile",
            "kill",
            "kill at node",
            "kill query",
            "kill server session",
            "multi",
            "pipeline",
            "prepared",
            "reconnect",
            "reset",
            "rows",
            "short connections",
            "system variable",
            "table",
            "tiny",
            "transaction",
            "turns",
            "user variable",
        ];
        assert_eq!(kinds, BTreeSet::from(wanted));
    }
}
