#!/usr/bin/env bash
# Build the sdist and the wheel, and check that the wheel installs and runs without the checkout.
#
#   scripts/release.sh [DIST]      DIST is where the two files go; by default dist/, which is emptied first
#
#   PYTHON  a Python with the dev extras (`make test` makes one); it also makes the fresh environment
#   TORCH   which torch to install in the fresh environment, as in the Makefile
#
# Stops at the first failure with a non-zero exit status. Nothing is uploaded.
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
python=${PYTHON:-$root/.venv/bin/python}
torch=${TORCH:-torch==2.13.0}
dist=${1:-$root/dist}

work=$(mktemp -d)
current="start"
finish() {
  status=$?
  rm -rf "$work"
  if [ "$status" -ne 0 ]; then echo "FAILED: $current (exit status $status)" >&2; fi
}
trap finish EXIT

step() {
  current=$1
  printf '\n== %s (%s)\n' "$current" "$(date +%H:%M:%S)"
}
show() {
  printf '$ %s\n' "$*"
  "$@"
}

# The checkout must not be importable, whatever the caller has set.
unset PYTHONPATH PYTHONHOME VIRTUAL_ENV
export PERSONAKIT_CACHE="$work/cache" PIP_DISABLE_PIP_VERSION_CHECK=1

step "build the sdist, and the wheel from the sdist"
rm -rf "$dist"
"$python" -m build --outdir "$dist" "$root" > "$work/build.log" 2>&1 || { cat "$work/build.log" >&2; exit 1; }
wheel=$(ls "$dist"/personakit-*.whl)
ls -l "$dist"

step "the wheel holds every file of the package and every config"
"$python" -m zipfile -l "$wheel" | awk 'NR > 1 { print $1 }' > "$work/in_wheel"
git -C "$root" ls-files personakit configs | sed 's|^configs/|personakit/_configs/|' > "$work/expected"
if missing=$(grep -vxFf "$work/in_wheel" "$work/expected"); then
  echo "missing from $wheel:" >&2
  echo "$missing" >&2
  exit 1
fi
for needed in personakit/_configs/rpo/smollm2.yaml personakit/models/nano/weights/model.safetensors \
  personakit/models/voice/run/model/adapter_model.safetensors personakit/evaluation/report_page/report.html.j2 personakit/py.typed; do
  grep -xF "$needed" "$work/in_wheel"
done
echo "all $(wc -l < "$work/expected") files are there"

step "install the wheel with $torch in a fresh environment"
"$python" -m venv "$work/venv"
# Not quoted: TORCH may hold options of pip beside the requirement.
"$work/venv/bin/python" -m pip install --quiet $torch
"$work/venv/bin/python" -m pip install --quiet "$wheel"

cd "$(mktemp -d -p "$work")"
PATH="$work/venv/bin:$PATH"
step "run it from an empty folder"
imported=$(python -c 'import personakit; print(personakit.__file__)')
case $imported in
  "$work/venv/"*) echo "imported from the fresh environment" ;;
  *) echo "imported from $imported, expected the fresh environment" >&2; exit 1 ;;
esac
version=$(show personakit --version | tail -n 1)
echo "$version"
case $(basename "$wheel") in
  "personakit-${version##* }-"*) ;;
  *) echo "$(basename "$wheel") is not of version ${version##* }" >&2; exit 1 ;;
esac
show personakit env
show personakit config list
show personakit data make mini --knob history=2,4

step "train for three steps, answer, evaluate"
show personakit train rpo --config nano stages=sft sft.max_steps=3 data.path=mini 'data.tasks=[LaMP_7]' data.limit=16 \
  controls.fine_tuned_context_injection=false --output run
show personakit infer --run run --task LaMP_7 --user dev-0000 "We explored the folk museum in Oslo on Saturday."
show personakit eval lamp --run run --task LaMP_7 --limit 2 --output evaluation
test -s evaluation/results.json
test -s evaluation/report.html
python -c 'import json; rows = json.load(open("evaluation/results.json"))["rows"]; print(len(rows), "rows in results.json")'

step "done: $(basename "$wheel") installs and runs without the checkout"
