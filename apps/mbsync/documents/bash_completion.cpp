#include "documents/bash_completion.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <map>

namespace mbsync {
namespace {

/// One word for the shell, whatever is in it.
std::string quoted(const std::string& text) {
  std::string word = "'";
  for (const char c : text) {
    word += c == '\'' ? std::string{"'\\''"} : std::string{c};
  }
  return word + "'";
}

std::string quoted(const std::vector<std::string>& words) {
  std::vector<std::string> all;
  all.reserve(words.size());
  for (const std::string& word : words) {
    all.push_back(quoted(word));
  }
  return fmt::format("{}", fmt::join(all, " "));
}

std::string offer_of(const Parameter& parameter) {
  switch (parameter.offers) {
    case Offers::kFiles:
      return "offer=files";
    case Offers::kDirectories:
      return "offer=directories";
    case Offers::kChoices:
      return fmt::format("offer=choices choices=({})", quoted(parameter.choices));
    case Offers::kNothing:
      break;
  }
  return "offer=nothing";
}

/// What there is at each command.
std::string cases_of_commands(const Command& program) {
  std::string text;
  for_each_command(program, [&](const Command& command) {
    std::vector<std::string> below;
    for (const Command& next : command.commands) {
      below.push_back(next.path.back());
    }
    std::vector<std::string> options;
    for (const Parameter& option : command.options) {
      options.insert(options.end(), option.names.begin(), option.names.end());
    }
    text += fmt::format("    {}) commands=({}) options=({}) ;;\n", quoted(path_text(command)), quoted(below),
                        quoted(options));
  });
  return text;
}

/// What is offered for each value: by command and option, or by command and nothing for arguments by place.
std::string cases_of_values(const Command& program) {
  std::map<std::string, std::vector<std::string>> places;
  for_each_command(program, [&](const Command& command) {
    for (const Parameter& option : command.options) {
      for (const std::string& name : option.names) {
        if (!option.value.empty()) {
          places[offer_of(option)].push_back(quoted(path_text(command) + " " + name));
        }
      }
    }
    // Where several are given by place, the first that has something to offer speaks for all.
    for (const Parameter& argument : command.arguments) {
      if (argument.offers != Offers::kNothing) {
        places[offer_of(argument)].push_back(quoted(path_text(command) + " "));
        break;
      }
    }
  });
  std::string text;
  for (const auto& [offer, which] : places) {
    text += fmt::format("    {}) {} ;;\n", fmt::join(which, " | "), offer);
  }
  return text;
}

constexpr std::string_view kScript = R"(# Completion of {program} for bash, made by '{program} completion bash'.

# Which commands and options there are at the command $1.
_{program}_at() {{
  commands=() options=()
  case $1 in
{commands}  esac
}}

# What is offered for the value of option $2 of the command $1, or for its arguments; "none": the option takes no value.
_{program}_value() {{
  offer=none choices=()
  case "$1 $2" in
{values}  esac
}}

_{program}() {{
  local commands options offer choices word i
  local at={quoted_program} option='' before='' only_arguments='' current=${{COMP_WORDS[COMP_CWORD]}}
  COMPREPLY=()
  for ((i = 1; i < COMP_CWORD; ++i)); do
    word=${{COMP_WORDS[i]}}
    if [[ $option ]]; then
      # bash parts --option=value into three words.
      [[ $word == = ]] || option=''
    elif [[ $word == -- ]]; then
      only_arguments=yes
    elif [[ $word == -* && ! $only_arguments ]]; then
      _{program}_value "$at" "$word"
      [[ $offer == none ]] || option=$word
    elif [[ ! $only_arguments ]]; then
      _{program}_at "$at"
      local known
      for known in "${{commands[@]}}"; do
        [[ $word == "$known" ]] && at+=" $word" && break
      done
    fi
  done
  [[ $option && $current == = ]] && current=''
  # Where '=' is not in COMP_WORDBREAKS.
  if [[ ! $option && ! $only_arguments && $current == --*=* ]]; then
    option=${{current%%=*}} before=${{current%%=*}}= current=${{current#*=}}
  fi
  _{program}_at "$at"
  _{program}_value "$at" "$option"
  local offered=()
  case $offer in
    choices) offered=("${{choices[@]}}") ;;
    files | directories)
      if [[ $option || $current != -* ]]; then
        local action=-f
        [[ $offer == directories ]] && action=-d
        compopt -o filenames 2>/dev/null
        while IFS= read -r word; do
          COMPREPLY+=("$before$word")
        done < <(compgen "$action" -- "$current")
      fi
      ;;
  esac
  if [[ ! $option && ! $only_arguments ]]; then
    if [[ $current == -* ]]; then
      offered=("${{options[@]}}")
    else
      offered+=("${{commands[@]}}")
    fi
  fi
  for word in "${{offered[@]}}"; do
    [[ $word == "$current"* ]] && COMPREPLY+=("$before$word")
  done
}}
complete -F _{program} {quoted_program}
)";

}  // namespace

std::string bash_completion(const Command& program) {
  return fmt::format(fmt::runtime(kScript), fmt::arg("program", program.path.front()),
                     fmt::arg("quoted_program", quoted(program.path.front())),
                     fmt::arg("commands", cases_of_commands(program)), fmt::arg("values", cases_of_values(program)));
}

}  // namespace mbsync
