#include "documents/manual_page.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cctype>
#include <vector>

#include "exit_code.h"
#include "settings.h"

namespace mbsync {
namespace {

std::string bold(std::string_view text) {
  return "\\fB" + roff_text(text) + "\\fR";
}

std::string italic(std::string_view text) {
  return "\\fI" + roff_text(text) + "\\fR";
}

std::string tagged(const std::string& tag, std::string_view text) {
  return fmt::format(".TP\n{}\n{}\n", tag, roff_text(text));
}

bool is_indented(std::string_view line) {
  return line.starts_with("  ");
}

/// "  3  database: ..." of a list of exit codes: the number and what it means.
bool is_exit_code(std::string_view line) {
  constexpr std::size_t kNumber = 2;
  return line.size() > kNumber + 3 && std::isdigit(static_cast<unsigned char>(line[kNumber])) != 0 &&
         line.substr(kNumber + 1).starts_with("  ");
}

/// The next line of `text`, taken out of it.
std::string_view take_line(std::string_view& text) {
  const auto end = std::min(text.find('\n'), text.size());
  const auto line = text.substr(0, end);
  text.remove_prefix(std::min(end + 1, text.size()));
  return line;
}

/// What is below a command's options in --help: sentences, lists of exit codes, and examples, which are indented.
std::string footer_text(std::string_view footer) {
  constexpr std::size_t kIndent = 2;
  constexpr std::size_t kCode = 3;
  constexpr std::string_view kGoesOn = "     ";  // of an exit code's text
  std::string text;
  bool example = false;
  bool paragraph = false;
  bool code = false;
  while (!footer.empty()) {
    const auto line = take_line(footer);
    if (code && line.starts_with(kGoesOn)) {
      text += roff_text(line.substr(kGoesOn.size())) + "\n";
      continue;
    }
    code = is_exit_code(line);
    const bool command_line = is_indented(line) && !code;
    if (example != command_line) {
      text += command_line ? ".PP\n.RS 4\n.EX\n" : ".EE\n.RE\n";
      example = command_line;
    }
    if (line.empty()) {
      paragraph = false;
    } else if (command_line) {
      text += roff_text(line.substr(kIndent)) + "\n";
    } else if (code) {
      text += fmt::format(".TP 4\n{}\n{}\n", line.substr(kIndent, 1), roff_text(line.substr(kIndent + kCode)));
    } else {
      text += (paragraph ? "" : ".PP\n") + roff_text(line) + "\n";
      paragraph = true;
    }
  }
  return text + (example ? ".EE\n.RE\n" : "");
}

std::string usage(const Command& command) {
  std::string text = bold(path_text(command));
  if (!command.options.empty()) {
    text += " [" + italic("OPTION") + "]...";
  }
  for (const Parameter& argument : command.arguments) {
    const auto value = italic(argument.value) + (argument.repeated ? "..." : "");
    text += argument.required ? " " + value : " [" + value + "]";
  }
  if (!command.commands.empty()) {
    const auto below = italic("COMMAND") + "...";
    text += command.command_required ? " " + below : " [" + below + "]";
  }
  return text;
}

std::string option_tag(const Parameter& option) {
  std::vector<std::string> names;
  for (const std::string& name : option.names) {
    names.push_back(bold(name));
  }
  auto tag = fmt::format("{}", fmt::join(names, ", "));
  return option.value.empty() ? tag : tag + " " + italic(option.value);
}

std::string text_with_choices(const Parameter& parameter) {
  return parameter.choices.empty() || parameter.text.find(parameter.choices.front()) != std::string::npos
             ? parameter.text
             : fmt::format("{} ({})", parameter.text, fmt::join(parameter.choices, ", "));
}

std::string parameters(const Command& command) {
  std::string text;
  for (const Parameter& argument : command.arguments) {
    text += tagged(italic(argument.value), text_with_choices(argument));
  }
  for (const Parameter& option : command.options) {
    text += tagged(option_tag(option), text_with_choices(option));
  }
  return text;
}

std::string commands_section(const Command& program) {
  std::string text = ".SH COMMANDS\n";
  for_each_command(program, [&](const Command& command) {
    if (&command == &program) {
      return;
    }
    text +=
        fmt::format(".SS {}\n{}.\n.PP\n{}\n", roff_text(path_text(command)), roff_text(command.text), usage(command));
    text += parameters(command) + footer_text(command.footer);
  });
  return text;
}

std::string settings_section() {
  std::string text = fmt::format(
      ".SH SETTINGS\nThey come, each overruling those before it, from {}, from {} beside it (lines KEY=value), from "
      "the "
      "environment, and from options. The two files are looked for in the current directory and, if neither is there, "
      "in "
      "{}. {} prints a file with all settings explained. Those that are taken anew on SIGHUP say so.\n",
      italic("mbsync.toml"), italic("service.env"), italic(kSystemDirectory), bold("mbsync config --example"));
  for (const Setting& entry : all_settings()) {
    std::string tag = fmt::format("{}, {}", bold(entry.env), bold(entry.toml));
    if (!entry.flag.empty()) {
      tag += ", " + bold(entry.flag) + (entry.flag_value.empty() ? "" : " " + italic(entry.flag_value));
    }
    text += tagged(tag, fmt::format("{}. In mbsync.toml: {}. Default: {}.{}{}", entry.help, entry.allowed,
                                    entry.without_it, entry.reload == Reload::kLive ? " Taken anew on SIGHUP." : "",
                                    entry.secret ? " A secret: it is not taken from the command line." : ""));
  }
  return text;
}

constexpr std::string_view kSignals = R"(.SH SIGNALS
.TP
SIGTERM, SIGINT
Stops after what is being done; a second one at once.
.TP
SIGHUP
Reads the files again. If something is wrong in them, all stays as it was, and the log says what.
)";

std::string files_section(bool service) {
  return ".SH FILES\n" +
         tagged(italic(fmt::format("{}/mbsync.toml", kSystemDirectory)),
                "settings of this machine, where the current directory has none") +
         tagged(italic(fmt::format("{}/service.env", kSystemDirectory)),
                "the same as environment variables, secrets among them; readable by the service alone") +
         (service ? tagged(italic("sync-service.log"), "the log, in the data directory") : std::string{});
}

std::string exit_section() {
  std::string text = ".SH EXIT STATUS\nThe same for every command that lists no other.\n";
  for (const ExitMeaning& entry : exit_meanings()) {
    text += fmt::format(".TP 4\n{}\n{}\n", static_cast<int>(entry.code), roff_text(entry.when));
  }
  return text;
}

/// The program's own examples: what stands in its footer before the exit codes, which have a section of their own.
std::string examples_section(const Command& program) {
  std::string footer = program.footer;
  if (const auto codes = footer.find(exit_code_help()); codes != std::string::npos) {
    footer.erase(codes, exit_code_help().size());
  }
  std::string text = ".SH EXAMPLES\n.RS 4\n.EX\n";
  for (std::string_view rest = footer; !rest.empty();) {
    if (const auto line = take_line(rest); is_indented(line)) {
      text += roff_text(line.substr(2)) + "\n";
    }
  }
  return text + ".EE\n.RE\n";
}

}  // namespace

std::string roff_text(std::string_view text) {
  constexpr unsigned kAscii = 0x80;
  constexpr unsigned kContinuation = 0x40;  // the bits below the mark of a byte that goes on with a character
  std::string roff;
  bool line_begins = true;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    const auto byte = static_cast<unsigned char>(c);
    if (line_begins && (c == '.' || c == '\'')) {
      roff += "\\&";
    }
    line_begins = c == '\n';
    if (byte >= kAscii) {
      // The lead byte has as many ones at its front as the character has bytes.
      std::size_t length = 1;
      unsigned point = byte;
      for (unsigned bit = kContinuation; (byte & bit) != 0; bit >>= 1U) {
        point &= bit - 1;
        ++length;
      }
      for (std::size_t next = 1; next < length && i + next < text.size(); ++next) {
        point = point * kContinuation + (static_cast<unsigned char>(text[i + next]) & (kContinuation - 1));
      }
      i += length - 1;
      roff += fmt::format("\\[u{:04X}]", point);
      continue;
    }
    switch (c) {
      case '\\':
        roff += "\\e";
        break;
      case '-':
        roff += "\\-";
        break;
      case '\'':
        roff += "\\(aq";
        break;
      case '"':
        roff += "\\(dq";
        break;
      case '^':
        roff += "\\(ha";
        break;
      case '~':
        roff += "\\(ti";
        break;
      case '`':
        roff += "\\(ga";
        break;
      default:
        roff += c;
    }
  }
  return roff;
}

std::string manual_page(const Command& program, const PageHead& head) {
  const auto& name = program.path.front();
  std::string upper;
  for (const char c : name) {
    upper += static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  }
  std::string text =
      fmt::format(".TH {} {} {} \"{} {}\" \"{}\"\n", upper, head.section, head.date, "mbsync", roff_text(head.version),
                  head.section == 1 ? "User Commands" : "System Administration");
  // Hyphens of names and options are to be copied as they are; lines are not stretched to the margin.
  text += ".nh\n.ad l\n";
  text += fmt::format(".SH NAME\n{} \\- {}\n", roff_text(name), roff_text(head.summary));
  text += fmt::format(".SH SYNOPSIS\n{}\n", usage(program));
  text += fmt::format(".SH DESCRIPTION\n{}\n", roff_text(program.text));
  if (!program.options.empty()) {
    text += ".SH OPTIONS\n" + parameters(program);
  }
  if (!program.commands.empty()) {
    text += commands_section(program);
  }
  text += settings_section();
  text += files_section(head.service);
  if (head.service) {
    text += kSignals;
  }
  text += exit_section() + examples_section(program);
  text += fmt::format(".SH SEE ALSO\n{}\n", roff_text(head.see_also));
  return text;
}

}  // namespace mbsync
