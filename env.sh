# Read by demo.sh and test.sh: leaves $python, the interpreter of a virtual environment with the
# packages of the requirements file that is given. PYTHON=python3.12 chooses another interpreter,
# which gets an environment of its own.
requirements=$1
if [ -n "${PYTHON:-}" ]; then
  venv=.venv-$("$PYTHON" -c 'import sys; print("%d.%d" % sys.version_info[:2])') || exit 1
else
  PYTHON=python3
  venv=.venv
fi
"$PYTHON" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' || {
  echo "TensorFlow 2.21 needs Python 3.10 to 3.13; $PYTHON is $("$PYTHON" -V 2>&1)." \
       "Choose one: PYTHON=python3.12 $0" >&2
  exit 1
}
python=$venv/bin/python
[ -x "$python" ] || "$PYTHON" -m venv "$venv" || exit 1
# The stamp holds what was installed, so that a second start need not ask the package index.
stamp=$venv/installed-$requirements
if ! cat requirements.txt "$requirements" | cmp -s - "$stamp"; then
  echo "Installing $requirements into $venv (once; TensorFlow is large) ..."
  "$python" -m pip install --quiet --disable-pip-version-check -r "$requirements" || exit 1
  cat requirements.txt "$requirements" > "$stamp"
fi
