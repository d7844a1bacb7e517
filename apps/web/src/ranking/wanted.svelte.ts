// How many alternates the person likes to compare, remembered on this device.

const KEY = 'rapport-alternates';
const FEWEST = 2;
const MOST = 9;

class AlternatesWanted {
  #count = $state(stored());

  get count(): number {
    return this.#count;
  }

  set count(count: number) {
    this.#count = count;
    localStorage.setItem(KEY, String(count));
  }
}

function stored(): number {
  const count = Number(localStorage.getItem(KEY));
  return count >= FEWEST && count <= MOST ? Math.round(count) : 4;
}

export const alternatesWanted = new AlternatesWanted();
